#include "llmrouter/step_cost.h"

#include <gtest/gtest.h>

namespace llmrouter {
namespace {

TEST(StepCost, KnowsNothingBeforeTheFirstStep) {
  const StepCost cost;
  EXPECT_EQ(cost.Seconds(100), 0);
  EXPECT_EQ(cost.TokenSeconds(), 0);
}

TEST(StepCost, StepsOfOneSizeSayNothingOfATokenMore) {
  StepCost cost;
  for (int i = 0; i < 100; ++i) cost.Add(16, 0.05);
  EXPECT_NEAR(cost.Seconds(16), 0.05, 1e-9);
  EXPECT_EQ(cost.TokenSeconds(), 0);
}

TEST(StepCost, FindsThePassAndTheTokensOfStepsOfManySizes) {
  StepCost cost;
  for (int i = 0; i < 100; ++i) {
    const int tokens = 1 + i * 7 % 60;
    cost.Add(tokens, 0.01 + 0.002 * tokens);
  }
  EXPECT_NEAR(cost.TokenSeconds(), 0.002, 1e-6);
  EXPECT_NEAR(cost.Seconds(0), 0.01, 1e-5);
  EXPECT_NEAR(cost.Seconds(100), 0.21, 1e-4);
}

TEST(StepCost, FollowsAMachineThatBecomesSlower) {
  StepCost cost;
  for (int i = 0; i < 200; ++i) cost.Add(1 + i % 30, 0.01 + 0.001 * (1 + i % 30));
  for (int i = 0; i < 200; ++i) cost.Add(1 + i % 30, 0.02 + 0.002 * (1 + i % 30));
  EXPECT_NEAR(cost.TokenSeconds(), 0.002, 2e-4);
}

TEST(StepCost, StaysSaneWhenLargerStepsHappenToBeFaster) {
  StepCost cost;
  for (int i = 0; i < 50; ++i) {
    cost.Add(10, 0.05);
    cost.Add(50, 0.01);
  }
  EXPECT_EQ(cost.TokenSeconds(), 0);
  EXPECT_GT(cost.Seconds(1), 0);
  EXPECT_GE(cost.Seconds(1000), 0);
}

}  // namespace
}  // namespace llmrouter
