#include "llmrouter/speculation.h"

#include <gtest/gtest.h>

#include <random>

#include "llmrouter/constraint.h"

namespace llmrouter {
namespace {

TEST(Speculation, DraftsGrowWhileTheyAreAcceptedWholeAndShrinkToWhatWas) {
  DraftPace pace;
  NoteDraft(4, 4, 12, &pace);
  EXPECT_EQ(pace.tokens, 8);
  NoteDraft(8, 8, 12, &pace);
  EXPECT_EQ(pace.tokens, 12);
  NoteDraft(12, 5, 12, &pace);
  EXPECT_EQ(pace.tokens, 6);
  NoteDraft(1, 1, 12, &pace);  // Cut short by the end of the answer: no reason to draft less.
  EXPECT_EQ(pace.tokens, 6);
}

TEST(Speculation, RefusedDraftsPauseEachTimeTwiceAsLong) {
  DraftPace pace;
  std::vector<int> pauses;
  for (int draft = 0; draft < 12; ++draft) {
    NoteDraft(pace.tokens, 0, 8, &pace);
    if (pace.pause == 0) continue;
    pauses.push_back(pace.pause);
    pace.pause = 0;
  }
  EXPECT_EQ(pauses, (std::vector<int>{8, 16, 32, 64, 128, 128, 128, 128, 128, 128}));
  NoteDraft(2, 2, 8, &pace);
  EXPECT_EQ(pace.pause, 0);
  EXPECT_EQ(pace.next_pause, 8);
}

TEST(Speculation, APaceStaysWithinItsBoundsWhateverHappens) {
  std::mt19937 random(2);
  for (const int most : {1, 2, 3, 12, 64}) {
    DraftPace pace;
    for (int draft = 0; draft < 2000; ++draft) {
      const int drafted = 1 + static_cast<int>(random() % most);
      NoteDraft(drafted, static_cast<int>(random() % (drafted + 1)), most, &pace);
      ASSERT_GE(pace.tokens, 1);
      ASSERT_LE(pace.tokens, std::max(most, 4));
      ASSERT_GE(pace.accepted, 0.25);
      ASSERT_LE(pace.accepted, 1.0);
      ASSERT_LE(pace.pause, 128);
    }
  }
}

TEST(Speculation, AloneADraftIsWorthItsCost) {
  EXPECT_TRUE(WorthVerifying(std::vector<ExpectedDraft>{{4, 0.6}}, false));
  EXPECT_TRUE(WorthVerifying(std::vector<ExpectedDraft>{{12, 0.25}}, false));
  EXPECT_FALSE(WorthVerifying(std::vector<ExpectedDraft>{{12, 0.1}}, false));
  EXPECT_FALSE(WorthVerifying(std::vector<ExpectedDraft>{{0, 1.0}}, false));
  EXPECT_FALSE(WorthVerifying({}, false));
}

TEST(Speculation, InCompanyEveryOneMustGain) {
  const ExpectedDraft sure = {8, 0.95};
  EXPECT_TRUE(WorthVerifying(std::vector{sure, sure}, false));
  EXPECT_FALSE(WorthVerifying(std::vector{sure, ExpectedDraft{8, 0.3}}, false));
  EXPECT_FALSE(WorthVerifying(std::vector{sure, ExpectedDraft{}}, false));
  // What pays alone does not pay beside others in the same state.
  const ExpectedDraft likely = {4, 0.4};
  EXPECT_TRUE(WorthVerifying(std::vector{likely}, false));
  EXPECT_FALSE(WorthVerifying(std::vector{likely, likely, likely}, false));
}

TEST(Speculation, InOneRunCompanySharesThePassOverTheWeights) {
  const ExpectedDraft likely = {4, 0.6};
  EXPECT_EQ(WorthVerifying(std::vector{likely}, true), WorthVerifying(std::vector{likely}, false));
  EXPECT_FALSE(WorthVerifying(std::vector{likely, likely, likely}, false));
  EXPECT_TRUE(WorthVerifying(std::vector{likely, likely, likely}, true));
  EXPECT_FALSE(WorthVerifying(std::vector{likely, ExpectedDraft{}}, true));
}

TEST(Speculation, TwoLogitsThatAreCloseAreNotSureWhereverTheyAre) {
  for (const std::size_t size : {2U, 8U, 9U, 64U, 101U}) {
    for (std::size_t first = 0; first < size; ++first) {
      for (std::size_t second = 0; second < size; ++second) {
        if (first == second) continue;
        std::vector<float> logits(size, -3.0F);
        logits[first] = 5.0F;
        logits[second] = 4.6F;
        ASSERT_TRUE(IsSure(logits));
        logits[second] = 4.8F;
        ASSERT_FALSE(IsSure(logits));
        logits[second] = 5.0F;
        ASSERT_FALSE(IsSure(logits));
      }
    }
  }
}

TEST(IsSure, LooksOnlyAtTokensThatAMaskAllows) {
  std::vector<float> logits(70, 0.0F);
  logits[3] = 5.0F;
  logits[40] = 4.9F;
  logits[69] = 4.0F;
  EXPECT_FALSE(IsSure(logits));
  TokenMask mask(MaskWords(96));
  const auto allow = [&](TokenId token) { mask[token / 32] |= 1U << (token % 32); };
  allow(40);
  EXPECT_TRUE(IsSure(logits, mask)) << "nothing else may come";
  allow(69);
  allow(95);
  EXPECT_TRUE(IsSure(logits, mask));
  allow(3);
  EXPECT_FALSE(IsSure(logits, mask));
}

TEST(Drafter, ProposesNoMoreThanItMayAndNothingWhilePausing) {
  const std::vector<TokenId> text(20, 3);
  Drafter drafter(100, 12);
  EXPECT_EQ(drafter.Propose(text, 100).tokens, 4);
  EXPECT_EQ(drafter.Propose(text, 2).tokens, 2);
  EXPECT_EQ(drafter.draft().size(), 2U);
  EXPECT_EQ(drafter.Propose(text, 0).tokens, 0);
  int refused = 0;
  int quiet = 0;
  for (int step = 0; step < 40; ++step) {
    const bool drafted = drafter.Propose(text, 100).tokens > 0;
    EXPECT_EQ(drafter.draft().empty(), !drafted);
    if (drafted) drafter.Note(0);
    (drafted ? refused : quiet) += 1;
  }
  EXPECT_EQ(refused, 5);
  EXPECT_EQ(quiet, 35);
  drafter.Stop();
  for (int step = 0; step < 200; ++step) EXPECT_EQ(drafter.Propose(text, 100).tokens, 0);
}

}  // namespace
}  // namespace llmrouter
