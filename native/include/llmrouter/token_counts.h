#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// Which tokens a sequence has seen, and how often its answer has said each: what penalties look
/// at. As large as the tokens are different, not as the vocabulary.
class TokenCounts {
 public:
  struct Entry {
    TokenId token = 0;
    /// Occurrences in the answer; 0 for tokens of the prompt alone.
    int said = 0;
  };

  /// Makes room for an answer of `answer_limit` tokens, so that saying one does not allocate.
  TokenCounts(std::span<const TokenId> prompt, int answer_limit);

  /// Notes a token of the answer.
  void Say(TokenId token) { ++Find(token).said; }

  /// Every token seen, each once, in order of first sight.
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& Find(TokenId token);

  std::vector<Entry> entries_;
  /// Open addressing: index into entries_ plus 1, or 0 where free. A power of two, half empty.
  std::vector<std::uint32_t> table_;
};

}  // namespace llmrouter
