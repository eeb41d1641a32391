#include "llmrouter/constraint.h"

#include <algorithm>
#include <bit>

namespace llmrouter {

bool AllowsOnly(std::span<const std::uint32_t> mask, std::span<const TokenId> end_tokens) {
  std::size_t ends = 0;
  for (const TokenId token : end_tokens) {
    const auto place = static_cast<std::size_t>(token);
    if (place / 32 < mask.size()) ends += mask[place / 32] >> (place % 32) & 1;
  }
  std::size_t allowed = 0;
  for (const std::uint32_t word : mask) {
    allowed += static_cast<std::size_t>(std::popcount(word));
    if (allowed > ends) return false;
  }
  return true;
}

}  // namespace llmrouter
