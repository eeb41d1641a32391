#include "llmrouter/step_trace.h"

#include <gtest/gtest.h>

#include "batch_fixture.h"

namespace llmrouter {
namespace {

StepRecord Decoding(int rows) {
  StepRecord record;
  record.decoding = rows;
  return record;
}

TEST(StepTraceTest, NothingIsKeptUnlessSomebodyLooks) {
  StepTrace trace;
  trace.Add({});
  EXPECT_FALSE(trace.on());
  EXPECT_TRUE(trace.Take().empty());
}

TEST(StepTraceTest, ItEndsByItselfWhenItIsFull) {
  StepTrace trace;
  trace.Start(2);
  for (int i = 1; i <= 3; ++i) trace.Add(Decoding(i));
  EXPECT_FALSE(trace.on());
  const std::vector<StepRecord> taken = trace.Take();
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[1].decoding, 2);
}

TEST(StepTraceTest, ABeginningForgetsWhatWasThere) {
  StepTrace trace;
  trace.Start(9);
  trace.Add({});
  trace.Start(9);
  EXPECT_TRUE(trace.on());
  EXPECT_TRUE(trace.Take().empty());
  EXPECT_FALSE(trace.on());
}

TEST_F(BatchTest, ATraceTellsWhatEveryStepComputedAndWhenItsPartsEnded) {
  Start(2, 4);
  Admit(Prompt(6, 1), 3);
  batch_->trace().Start(100);
  RunOut();
  const std::vector<StepRecord> steps = batch_->trace().Take();
  ASSERT_EQ(steps.size(), batch_->steps());
  int prompt = 0;
  int decoded = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    prompt += steps[i].prompt_tokens;
    decoded += steps[i].decoding;
    EXPECT_LE(steps[i].begin, steps[i].planned);
    EXPECT_LE(steps[i].planned, steps[i].computed);
    EXPECT_LE(steps[i].computed, steps[i].end);
    if (i > 0) {
      EXPECT_LE(steps[i - 1].end, steps[i].begin);
    }
  }
  EXPECT_EQ(prompt, 6);
  EXPECT_EQ(decoded, 2);  // The first token comes of the prompt's last chunk.
}

}  // namespace
}  // namespace llmrouter
