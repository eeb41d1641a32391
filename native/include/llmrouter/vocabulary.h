#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// The bytes each token stands for, and the tokens that end an answer.
class Vocabulary {
 public:
  /// `tokens[id]` are the token's bytes, which need not be whole UTF-8 characters. Tokens past the
  /// end of the table have no text: models pad their vocabulary.
  Vocabulary(const std::vector<std::string>& tokens, std::vector<TokenId> end_tokens);

  std::string_view Bytes(TokenId token) const;
  bool IsEnd(TokenId token) const;
  std::span<const TokenId> end_tokens() const { return end_tokens_; }

 private:
  /// One string with offsets: a quarter of the memory of 50,000 separate ones.
  std::string bytes_;
  std::vector<std::size_t> offsets_;
  std::vector<TokenId> end_tokens_;
};

}  // namespace llmrouter
