#include "llmrouter/wait_estimate.h"

#include <gtest/gtest.h>

namespace llmrouter {
namespace {

const Clock::time_point kNow = Clock::now();

double Wait(const EngineLoad& load, int answers = 1, Priority priority = Priority::kNormal) {
  return WaitForSlots(load, priority, kNow, answers);
}

/// One that has said `said` of at most 100 tokens.
RunningLoad Running(int said, Priority priority = Priority::kNormal) {
  return {priority, kNow, 1, 0, said, 100};
}

/// Steps of a second; a prompt's token takes a tenth of one.
EngineLoad Busy() { return {{Running(60), Running(80)}, 0, {}, {1, 0.1, 0}}; }

constexpr auto kNormal = static_cast<std::size_t>(Priority::kNormal);

TEST(WaitEstimate, AFreeSlotIsHadAtOnce) {
  EngineLoad load = Busy();
  load.free_slots = 1;
  EXPECT_EQ(Wait(load), 0);
  EXPECT_EQ(Wait({{}, 4, {}, {1, 0.1, 0}}, 4), 0);
}

TEST(WaitEstimate, TheFirstThatEndsMakesRoomForOneAnswerAndTheOthersForMore) {
  EXPECT_DOUBLE_EQ(Wait(Busy()), 20);
  EXPECT_DOUBLE_EQ(Wait(Busy(), 2), 40);
  EngineLoad load = Busy();
  load.free_slots = 1;
  EXPECT_DOUBLE_EQ(Wait(load, 3), 40);
}

TEST(WaitEstimate, ThoseWhoRunAreTakenToSayAsMuchAsTheMeanOfThoseBefore) {
  EngineLoad load = Busy();
  load.running[0].said = 30;
  load.pace.answer_tokens = 70;
  // The first has 40 to go; the second is past it, a quarter of it is taken to come.
  EXPECT_DOUBLE_EQ(Wait(load), 17.5);
  EXPECT_DOUBLE_EQ(Wait(load, 2), 40);
}

TEST(WaitEstimate, PromptsThatAreBeingComputedHoldUpEverybody) {
  EngineLoad load = Busy();
  load.running[0].said = 0;
  load.running[0].prompt_left = 50;
  EXPECT_DOUBLE_EQ(Wait(load), 25);
  EXPECT_DOUBLE_EQ(Wait(load, 2), 105);
}

TEST(WaitEstimate, ThoseWhoWaitHaveTheirSlotsFirstByTokensAndAnswers) {
  EngineLoad load = Busy();
  load.waiting[kNormal] = {1, 0, 30};
  EXPECT_DOUBLE_EQ(Wait(load), 40);
  load.waiting[kNormal] = {2, 0, 60};
  EXPECT_DOUBLE_EQ(Wait(load), 50);
  load.waiting[kNormal] = {2, 40, 60};
  EXPECT_DOUBLE_EQ(Wait(load), 54);
  load.waiting[kNormal] = {20, 0, 600};
  EXPECT_DOUBLE_EQ(Wait(load), 20 + 10 * 30);
}

TEST(WaitEstimate, OnlyThoseOfItsClassAndHigherOnesGoFirst) {
  EngineLoad load = Busy();
  load.waiting[static_cast<std::size_t>(Priority::kLow)] = {9, 0, 900};
  EXPECT_DOUBLE_EQ(Wait(load), 20);
  EXPECT_GT(Wait(load, 1, Priority::kLow), 100);
  load.waiting[static_cast<std::size_t>(Priority::kHigh)] = {1, 0, 30};
  EXPECT_DOUBLE_EQ(Wait(load), 40);
}

TEST(WaitEstimate, ALowerClassWithALaterTurnGivesWay) {
  EngineLoad load = Busy();
  load.running[0].priority = Priority::kLow;
  EXPECT_DOUBLE_EQ(Wait(load), 20);
  load.running[0].turn = kNow + std::chrono::seconds(1);
  EXPECT_EQ(Wait(load), 0);
  EXPECT_DOUBLE_EQ(Wait(load, 2), 20);
}

TEST(WaitEstimate, ManyThatMayHaveAnyLengthAreTakenToHaveAUsualOneUntilSomeHaveEnded) {
  EngineLoad load{{{Priority::kNormal, kNow, 1, 0, 0, 100'000}}, 0, {}, {1, 0, 0}};
  EXPECT_GT(Wait(load), 50);
  EXPECT_LT(Wait(load), 1000);
  load.pace.answer_tokens = 5;
  EXPECT_DOUBLE_EQ(Wait(load), 5);
}

TEST(WaitEstimate, BacklogsAddUp) {
  Backlog backlog{1, 2, 3};
  backlog += {4, 5, 6};
  EXPECT_EQ(backlog.answers, 5);
  EXPECT_EQ(backlog.prompt_tokens, 7);
  EXPECT_EQ(backlog.answer_tokens, 9);
  backlog -= {1, 2, 3};
  EXPECT_EQ(backlog.answers, 4);
  EXPECT_EQ(backlog.prompt_tokens, 5);
  EXPECT_EQ(backlog.answer_tokens, 6);
}

}  // namespace
}  // namespace llmrouter
