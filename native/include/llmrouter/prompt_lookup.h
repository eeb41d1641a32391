#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// Drafts what may come next from what has come before: the tokens that followed the last place
/// where the text ended as it does now (prompt lookup decoding, Saxena 2023). An index of the
/// text's runs of three and of two tokens answers in constant time however long the text is.
class PromptLookup {
 public:
  /// Sizes the index for a text that may become `tokens` long. It takes 1 KiB, or 32 to 64 bytes
  /// per token where that is more, and at most 1 MiB: newer runs take the places of older ones.
  explicit PromptLookup(std::size_t tokens);

  /// Replaces `draft` by at most `most` tokens; empty when the end of `text` is not found earlier
  /// in it. A draft that reaches the end of the text goes on with itself, as a loop does. `text` is
  /// what it was at the last call, or longer; only what is new is indexed.
  void Draft(std::span<const TokenId> text, int most, std::vector<TokenId>* draft);

  std::size_t bytes() const { return places_.size() * sizeof(std::uint32_t); }

 private:
  static constexpr std::size_t kLongest = 3;
  static constexpr std::size_t kShortest = 2;

  std::size_t Bucket(std::span<const TokenId> run) const;
  /// Indexes every run that something follows.
  void Index(std::span<const TokenId> text);
  /// Where the text went on after its last `length` tokens came before; 0 when they did not.
  std::size_t Find(std::span<const TokenId> text, std::size_t length) const;

  /// By a hash of the run: the position after it, 0 where there is none. A power of two of them.
  std::vector<std::uint32_t> places_;
  /// Runs that end before this position are indexed.
  std::size_t indexed_ = kShortest;
};

}  // namespace llmrouter
