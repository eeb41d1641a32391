#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// Keys and values of prompts computed before, in blocks of `kBlock` tokens that prompts with a
/// common beginning share. The least recently used block goes first; a block outlives those that
/// continue it. Whoever inserts sees to it that reusing is bitwise equal to computing. A block
/// serves its own scope at its own place alone, whatever names its tokens were chosen to have.
class PrefixCache {
 public:
  static constexpr int kBlock = 32;

  /// Copies the keys and values of the tokens from `position` on, `kBlock` of them.
  using Copy = std::function<void(int position, std::byte* out)>;

  /// `position_bytes` is what the keys and values of one token take; `max_bytes` bounds all blocks
  /// together, 0 keeps none.
  PrefixCache(std::size_t position_bytes, std::size_t max_bytes);

  std::size_t bytes() const { return blocks_.size() * block_bytes_; }

  /// Forgets the least recently used blocks until `keep_bytes` are left at most.
  void Shrink(std::size_t keep_bytes);

  /// The blocks of the longest known beginning of `prompt` within `scope`, first to last. At least
  /// two tokens are left to compute: one alone would round differently. Valid until `Insert`.
  std::vector<const std::byte*> Match(std::uint64_t scope, std::span<const TokenId> prompt);

  /// Keeps the whole blocks of `prompt` that are not known yet.
  void Insert(std::uint64_t scope, std::span<const TokenId> prompt, const Copy& copy);

 private:
  struct Block {
    std::uint64_t scope;
    /// Its place in prompts, in blocks.
    int index;
    std::uint64_t parent;
    std::vector<TokenId> tokens;
    std::unique_ptr<std::byte[]> data;
    std::list<std::uint64_t>::iterator use;
  };

  /// Follows `prompt` for at most `most` blocks; the keys of those that are known.
  std::vector<std::uint64_t> Follow(std::uint64_t scope, std::span<const TokenId> prompt,
                                    int most) const;
  /// Marks a path as just used, so that each block is more recent than those that continue it.
  void Touch(const std::vector<std::uint64_t>& path);
  void ForgetOldest();
  bool MakeRoom(std::size_t path_blocks);

  const std::size_t block_bytes_;
  const std::size_t max_bytes_;
  std::unordered_map<std::uint64_t, Block> blocks_;
  /// Keys, most recently used first.
  std::list<std::uint64_t> uses_;
};

}  // namespace llmrouter
