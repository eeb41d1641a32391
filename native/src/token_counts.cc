#include "llmrouter/token_counts.h"

#include <bit>

namespace llmrouter {

TokenCounts::TokenCounts(std::span<const TokenId> prompt, int answer_limit) {
  const std::size_t most = prompt.size() + static_cast<std::size_t>(answer_limit);
  entries_.reserve(most);
  table_.resize(std::bit_ceil(2 * most));
  for (const TokenId token : prompt) Find(token);
}

TokenCounts::Entry& TokenCounts::Find(TokenId token) {
  // Neighbouring ids are common, so the multiplication spreads them (Knuth's golden ratio).
  const std::size_t mask = table_.size() - 1;
  std::size_t at = (static_cast<std::uint32_t>(token) * 2654435769U >> 8) & mask;
  while (table_[at] != 0) {
    Entry& entry = entries_[table_[at] - 1];
    if (entry.token == token) return entry;
    at = (at + 1) & mask;
  }
  entries_.push_back({token, 0});
  table_[at] = static_cast<std::uint32_t>(entries_.size());
  return entries_.back();
}

}  // namespace llmrouter
