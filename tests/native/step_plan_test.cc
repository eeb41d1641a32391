#include "llmrouter/step_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace llmrouter {
namespace {

std::vector<Chunk> Plan(const std::vector<RowState>& rows, int chunk) {
  std::vector<Chunk> chunks;
  PlanChunks(rows, chunk, &chunks);
  return chunks;
}

TEST(Scheduler, ChunksNeverLeaveOneTokenBehind) {
  for (int budget = 2; budget <= 9; ++budget) {
    for (int prompt = 1; prompt <= 60; ++prompt) {
      int left = prompt;
      while (left > 0) {
        const int tokens = ChunkTokens(left, budget);
        ASSERT_GE(tokens, prompt == 1 ? 1 : 2) << "prompt " << prompt << " budget " << budget;
        ASSERT_LE(tokens, budget + std::max(1, budget / 2));
        left -= tokens;
        ASSERT_GE(left, 0);
      }
    }
  }
}

TEST(Scheduler, ChunksOfAPromptAreOfOneSizeAboutTheBudget) {
  EXPECT_EQ(ChunkTokens(1500, 32), 32);
  EXPECT_EQ(ChunkTokens(100, 32), 34);
  EXPECT_EQ(ChunkTokens(66, 32), 33);
  EXPECT_EQ(ChunkTokens(33, 32), 33);
  EXPECT_EQ(ChunkTokens(16, 16), 16);
  EXPECT_EQ(ChunkTokens(3, 2), 3);
}

TEST(Scheduler, ASmallRemainderIsTakenAlong) {
  EXPECT_EQ(ChunkTokens(17, 16), 17);
  EXPECT_EQ(ChunkTokens(23, 16), 23);
  EXPECT_EQ(ChunkTokens(24, 16), 12);
}

TEST(Scheduler, PlansNothingForNoRows) {
  const std::vector<Chunk> chunks = Plan({}, 16);
  EXPECT_TRUE(chunks.empty());
}

TEST(Scheduler, RunningStreamsDecodeWhileAnotherPrefills) {
  const std::vector<Chunk> chunks = Plan({{0, 1}, {0, 2}, {100, 3}}, 16);
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_EQ(chunks[0].row, 2);
  EXPECT_EQ(chunks[0].tokens, 17);
}

TEST(Scheduler, TheOldestPromptGoesFirstWhateverItsRow) {
  const std::vector<Chunk> chunks = Plan({{100, 9}, {100, 4}}, 16);
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_EQ(chunks[0].row, 1);
}

TEST(Scheduler, AShortPromptOvertakesALongOneThatCameALittleEarlier) {
  const auto state = [](std::uint64_t arrival, double submitted, int prompt) {
    return RowState{prompt, arrival, PrefillDue(submitted, prompt, 0.002)};
  };
  EXPECT_EQ(Plan({state(1, 10.0, 1000), state(2, 11.0, 50)}, 32)[0].row, 1);
  EXPECT_EQ(Plan({state(1, 10.0, 1000), state(2, 14.0, 50)}, 32)[0].row, 0);
  // What has been computed of it counts no more.
  EXPECT_EQ(Plan({state(1, 10.0, 100), state(2, 11.0, 50)}, 32)[0].row, 0);
}

TEST(Scheduler, PromptsDueAtTheSameTimeGoInTheOrderOfTheirArrival) {
  const std::vector<Chunk> chunks = Plan({{6, 3, 1.0}, {6, 1, 1.0}, {6, 2, 1.0}}, 18);
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_EQ(chunks[0].row, 1);
  EXPECT_EQ(chunks[1].row, 2);
  EXPECT_EQ(chunks[2].row, 0);
}

TEST(Scheduler, PromptsThatFitWholeShareAStep) {
  const std::vector<Chunk> chunks = Plan({{6, 1}, {6, 2}, {6, 3}}, 16);
  ASSERT_EQ(chunks.size(), 2U);
  EXPECT_EQ(chunks[0].row, 0);
  EXPECT_EQ(chunks[1].row, 1);
}

TEST(Scheduler, AYoungerPromptThatFitsPassesOneThatDoesNot) {
  const std::vector<Chunk> chunks = Plan({{10, 1}, {30, 2}, {5, 3}}, 16);
  ASSERT_EQ(chunks.size(), 2U);
  EXPECT_EQ(chunks[1].row, 2);
  EXPECT_EQ(chunks[1].tokens, 5);
}

TEST(PrefillBudgetTest, PrefillTakesAboutAsLongAsTheDecodingBesideIt) {
  EXPECT_EQ(PrefillBudget({8, 1}, 0.100, 0.001, 256), 100);
  EXPECT_EQ(PrefillBudget({1, 1}, 0.100, 0.001, 256), 100);
  EXPECT_EQ(PrefillBudget({8, 1}, 0.001, 0.001, 256), 32);
  EXPECT_EQ(PrefillBudget({8, 1}, 10, 0.001, 256), 256);
  EXPECT_EQ(PrefillBudget({8, 1}, 0.001, 0.001, 4), 4);
}

TEST(PrefillBudgetTest, GrowsWithTheSquareOfThePromptsThatWait) {
  EXPECT_EQ(PrefillBudget({8, 2}, 0.001, 0.001, 256), 128);
  EXPECT_EQ(PrefillBudget({8, 3}, 0.020, 0.001, 1024), 288);
  EXPECT_EQ(PrefillBudget({1, 2}, 0.050, 0.001, 1024), 200);
  EXPECT_EQ(PrefillBudget({8, 200}, 0.050, 0.001, 256), 256);
}

TEST(PrefillBudgetTest, WithoutDecodingRowsTheWholeChunkIsAllowed) {
  EXPECT_EQ(PrefillBudget({0, 3}, 0.1, 0.001, 256), 256);
}

TEST(PrefillBudgetTest, BeforeAnythingIsMeasuredTheWholeChunkIsAllowed) {
  EXPECT_EQ(PrefillBudget({8, 1}, 0, 0.001, 256), 256);
  EXPECT_EQ(PrefillBudget({8, 1}, 0.1, 0, 256), 256);
}

}  // namespace
}  // namespace llmrouter
