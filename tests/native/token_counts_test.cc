#include "llmrouter/token_counts.h"

#include <gtest/gtest.h>

#include <map>

#include "llmrouter/sampling.h"

namespace llmrouter {
namespace {

TEST(TokenCounts, HoldsEachTokenOnceWithHowOftenTheAnswerSaidIt) {
  for (const int vocabulary : {1, 10, 1000, 1 << 30}) {
    std::map<TokenId, int> expected;
    std::vector<TokenId> prompt(300);
    for (int i = 0; i < 300; ++i) {
      prompt[i] = static_cast<TokenId>(UniformDraw(1, i) * vocabulary);
      expected[prompt[i]] += 0;
    }
    TokenCounts counts(prompt, 500);
    for (int i = 0; i < 500; ++i) {
      const auto token = static_cast<TokenId>(UniformDraw(2, i) * vocabulary);
      counts.Say(token);
      expected[token] += 1;
    }
    std::map<TokenId, int> held;
    for (const auto& [token, said] : counts.entries()) held[token] = said;
    EXPECT_EQ(held, expected);
    EXPECT_EQ(counts.entries().size(), expected.size()) << "a token is held twice";
  }
}

TEST(TokenCounts, NeverMovesItsEntriesWhileTheAnswerGrows) {
  const std::vector<TokenId> prompt = {1, 2, 3};
  TokenCounts counts(prompt, 1000);
  const auto* const before = counts.entries().data();
  for (TokenId token = 0; token < 1000; ++token) counts.Say(token);
  EXPECT_EQ(counts.entries().data(), before);
}

}  // namespace
}  // namespace llmrouter
