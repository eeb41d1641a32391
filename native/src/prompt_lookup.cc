#include "llmrouter/prompt_lookup.h"

#include <algorithm>
#include <bit>

namespace llmrouter {
namespace {

constexpr std::size_t kLeastPlaces = 256;
constexpr std::size_t kMostPlaces = std::size_t{1} << 18;

}  // namespace

// Two runs end at every token; with a quarter of the places taken few are lost to others.
PromptLookup::PromptLookup(std::size_t tokens)
    : places_(std::clamp(std::bit_ceil(8 * tokens), kLeastPlaces, kMostPlaces)) {}

void PromptLookup::Draft(std::span<const TokenId> text, int most, std::vector<TokenId>* draft) {
  draft->clear();
  Index(text);
  std::size_t next = 0;
  for (std::size_t length = kLongest; length >= kShortest && next == 0; --length) {
    next = Find(text, length);
  }
  if (next == 0) return;
  for (int i = 0; i < most; ++i, ++next) {
    draft->push_back(next < text.size() ? text[next] : (*draft)[next - text.size()]);
  }
}

std::size_t PromptLookup::Bucket(std::span<const TokenId> run) const {
  // The length is part of it. The multiplication spreads the ids (Knuth's golden ratio, 64 bits).
  std::uint64_t hash = run.size();
  for (const TokenId token : run) {
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x9E3779B97F4A7C15ULL;
    hash ^= hash >> 32;
  }
  return hash & (places_.size() - 1);
}

void PromptLookup::Index(std::span<const TokenId> text) {
  for (; indexed_ < text.size(); ++indexed_) {
    for (std::size_t length = kShortest; length <= std::min(kLongest, indexed_); ++length) {
      places_[Bucket(text.subspan(indexed_ - length, length))] =
          static_cast<std::uint32_t>(indexed_);
    }
  }
}

std::size_t PromptLookup::Find(std::span<const TokenId> text, std::size_t length) const {
  if (text.size() < length) return 0;
  const auto run = text.last(length);
  const std::size_t next = places_[Bucket(run)];
  // Another run may have taken the place.
  if (next < length || !std::ranges::equal(text.subspan(next - length, length), run)) return 0;
  return next;
}

}  // namespace llmrouter
