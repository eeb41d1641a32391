#include "llmrouter/vocabulary.h"

#include <algorithm>
#include <utility>

namespace llmrouter {

Vocabulary::Vocabulary(const std::vector<std::string>& tokens, std::vector<TokenId> end_tokens)
    : end_tokens_(std::move(end_tokens)) {
  offsets_.reserve(tokens.size() + 1);
  offsets_.push_back(0);
  for (const std::string& token : tokens) {
    bytes_ += token;
    offsets_.push_back(bytes_.size());
  }
}

std::string_view Vocabulary::Bytes(TokenId token) const {
  const auto index = static_cast<std::size_t>(token);
  if (token < 0 || index + 1 >= offsets_.size()) return {};
  return std::string_view(bytes_).substr(offsets_[index], offsets_[index + 1] - offsets_[index]);
}

bool Vocabulary::IsEnd(TokenId token) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
}

}  // namespace llmrouter
