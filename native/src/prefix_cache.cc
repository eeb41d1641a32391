#include "llmrouter/prefix_cache.h"

#include <algorithm>

namespace llmrouter {
namespace {

/// Mixes the bits of `value` (the finaliser of MurmurHash3, Appleby).
std::uint64_t Mix(std::uint64_t value) {
  value = (value ^ (value >> 33)) * 0xff51afd7ed558ccdULL;
  value = (value ^ (value >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return value ^ (value >> 33);
}

/// Names the block of `tokens` that continues `parent`. Equal names are compared in full.
std::uint64_t KeyOf(std::uint64_t parent, std::span<const TokenId> tokens) {
  std::uint64_t key = Mix(parent + 0x9e3779b97f4a7c15ULL);
  for (const TokenId token : tokens) key = Mix(key ^ static_cast<std::uint32_t>(token));
  return key;
}

}  // namespace

PrefixCache::PrefixCache(std::size_t position_bytes, std::size_t max_bytes)
    : block_bytes_(position_bytes * kBlock), max_bytes_(max_bytes) {}

std::vector<std::uint64_t> PrefixCache::Follow(std::uint64_t scope, std::span<const TokenId> prompt,
                                               int most) const {
  std::vector<std::uint64_t> path;
  std::uint64_t parent = scope;
  for (int i = 0; i < most; ++i) {
    const auto tokens = prompt.subspan(static_cast<std::size_t>(i) * kBlock, kBlock);
    const std::uint64_t key = KeyOf(parent, tokens);
    const auto found = blocks_.find(key);
    if (found == blocks_.end()) break;
    const Block& block = found->second;
    // Names are 64 bits that whoever asks can work towards: only what they stand for counts.
    const bool same = block.scope == scope && block.index == i && block.parent == parent;
    if (!same || !std::ranges::equal(block.tokens, tokens)) break;
    path.push_back(key);
    parent = key;
  }
  return path;
}

void PrefixCache::Touch(const std::vector<std::uint64_t>& path) {
  for (auto key = path.rbegin(); key != path.rend(); ++key) {
    uses_.splice(uses_.begin(), uses_, blocks_.at(*key).use);
  }
}

std::vector<const std::byte*> PrefixCache::Match(std::uint64_t scope,
                                                 std::span<const TokenId> prompt) {
  const int most = (static_cast<int>(prompt.size()) - 2) / kBlock;
  const std::vector<std::uint64_t> path = Follow(scope, prompt, most);
  Touch(path);
  std::vector<const std::byte*> data;
  for (const std::uint64_t key : path) data.push_back(blocks_.at(key).data.get());
  return data;
}

void PrefixCache::ForgetOldest() {
  blocks_.erase(uses_.back());
  uses_.pop_back();
}

void PrefixCache::Shrink(std::size_t keep_bytes) {
  while (bytes() > keep_bytes) ForgetOldest();
}

bool PrefixCache::MakeRoom(std::size_t path_blocks) {
  while (bytes() + block_bytes_ > max_bytes_) {
    // The path being extended is the most recent one: nothing but it is left to go.
    if (blocks_.size() <= path_blocks) return false;
    ForgetOldest();
  }
  return true;
}

void PrefixCache::Insert(std::uint64_t scope, std::span<const TokenId> prompt, const Copy& copy) {
  const int whole = static_cast<int>(prompt.size()) / kBlock;
  std::vector<std::uint64_t> path = Follow(scope, prompt, whole);
  Touch(path);
  for (int i = static_cast<int>(path.size()); i < whole; ++i) {
    if (!MakeRoom(path.size())) break;
    const auto tokens = prompt.subspan(static_cast<std::size_t>(i) * kBlock, kBlock);
    const std::uint64_t parent = path.empty() ? scope : path.back();
    const std::uint64_t key = KeyOf(parent, tokens);
    if (blocks_.contains(key)) break;  // Another block has this name: rare, and not worth more.
    auto data = std::make_unique_for_overwrite<std::byte[]>(block_bytes_);
    copy(i * kBlock, data.get());
    uses_.push_front(key);
    blocks_[key] = {scope,        i, parent, {tokens.begin(), tokens.end()}, std::move(data),
                    uses_.begin()};
    path.push_back(key);
    Touch(path);
  }
}

}  // namespace llmrouter
