#include "llmrouter/prompt_lookup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace llmrouter {
namespace {

using Tokens = std::vector<TokenId>;

Tokens Draft(PromptLookup& lookup, const Tokens& text, int most = 4) {
  Tokens draft = {7, 7, 7};
  lookup.Draft(text, most, &draft);
  return draft;
}

Tokens Draft(const Tokens& text, int most = 4) {
  PromptLookup lookup(text.size());
  return Draft(lookup, text, most);
}

TEST(PromptLookup, WhatFollowedTheSameEndIsDrafted) {
  EXPECT_EQ(Draft({1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}), (Tokens{4, 5, 6, 7}));
  EXPECT_EQ(Draft({1, 2, 3, 4, 5, 9, 1, 2}, 2), (Tokens{3, 4}));
}

TEST(PromptLookup, TheLastPlaceCountsAndALongerEndBeforeAShorterOne) {
  EXPECT_EQ(Draft({1, 2, 3, 9, 1, 2, 4, 9, 1, 2}, 1), (Tokens{4}));
  EXPECT_EQ(Draft({5, 1, 2, 3, 9, 1, 2, 4, 5, 1, 2}, 1), (Tokens{3}));
}

TEST(PromptLookup, AnEndThatIsNewDraftsNothing) {
  EXPECT_EQ(Draft({}), Tokens());
  EXPECT_EQ(Draft({1}), Tokens());
  EXPECT_EQ(Draft({1, 1}), Tokens());
  EXPECT_EQ(Draft({1, 2, 3, 4, 3}), Tokens());
}

TEST(PromptLookup, ADraftThatReachesTheEndGoesOnWithItself) {
  EXPECT_EQ(Draft({8, 1, 2, 3, 1, 2, 3}, 7), (Tokens{1, 2, 3, 1, 2, 3, 1}));
  EXPECT_EQ(Draft({5, 5, 5}, 3), (Tokens{5, 5, 5}));
}

TEST(PromptLookup, TokensOfAnyIdAreTaken) {
  EXPECT_EQ(Draft({0, 0, 2147483647, 0, 0}, 1), (Tokens{2147483647}));
}

/// Whether `draft` continues an earlier place at which the text ended as it does now.
bool Continues(const Tokens& text, const Tokens& draft) {
  Tokens whole = text;
  whole.insert(whole.end(), draft.begin(), draft.end());
  for (std::size_t at = 2; at < text.size(); ++at) {
    if (!std::equal(text.end() - 2, text.end(), text.begin() + static_cast<long>(at) - 2)) continue;
    if (std::equal(draft.begin(), draft.end(), whole.begin() + static_cast<long>(at))) return true;
  }
  return false;
}

TEST(PromptLookup, EveryDraftContinuesAnEarlierPlaceHoweverTheTextGrew) {
  std::mt19937 random(5);
  int drafted = 0;
  for (int round = 0; round < 300; ++round) {
    const int alphabet = 2 + round % 30;
    Tokens text;
    PromptLookup lookup(400);
    while (text.size() < 400) {
      for (std::size_t more = 1 + random() % 20; more > 0; --more) {
        text.push_back(static_cast<TokenId>(random() % alphabet));
      }
      const int most = static_cast<int>(random() % 12);
      const Tokens draft = Draft(lookup, text, most);
      ASSERT_LE(static_cast<int>(draft.size()), most);
      if (draft.empty()) continue;
      ++drafted;
      ASSERT_EQ(static_cast<int>(draft.size()), most);
      ASSERT_TRUE(Continues(text, draft));
    }
  }
  EXPECT_GT(drafted, 1000);
}

TEST(PromptLookup, TheIndexIsBoundedAndKeepsTheNewest) {
  EXPECT_EQ(PromptLookup(0).bytes(), 1024U);
  EXPECT_LE(PromptLookup(1000).bytes(), 64'000U);
  constexpr int kLong = 1 << 20;
  Tokens text;
  for (TokenId token = 0; token < kLong; ++token) text.push_back(token);
  PromptLookup lookup(text.size());
  EXPECT_EQ(lookup.bytes(), 1'048'576U);
  text.insert(text.end(), {kLong - 10, kLong - 9, kLong - 8});
  EXPECT_EQ(Draft(lookup, text, 3), (Tokens{kLong - 7, kLong - 6, kLong - 5}));
  EXPECT_EQ(lookup.bytes(), 1'048'576U);
}

}  // namespace
}  // namespace llmrouter
