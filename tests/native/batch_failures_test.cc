#include <gtest/gtest.h>

#include <cmath>

#include "batch_fixture.h"

namespace llmrouter {
namespace {

TEST_F(BatchTest, CancellingFreesTheSlotAtOnceAndLeavesOthersUnchanged) {
  const auto alone = Alone(Prompt(6, 2), 12);
  for (int cancel_at = 0; cancel_at < 8; ++cancel_at) {
    Start(3, 4);
    const RequestId cancelled = Admit(Prompt(9, 1), 30);
    const RequestId other = Admit(Prompt(6, 2), 12);
    for (int step = 0; step < cancel_at; ++step) Step();
    if (!outcomes_[cancelled].finished.empty()) continue;
    const int running = batch_->running();
    std::vector<Event> events;
    batch_->Cancel(cancelled, &events);
    Take(events);
    EXPECT_EQ(batch_->running(), running - 1);
    EXPECT_EQ(outcomes_[cancelled].finished.at(0).reason, FinishReason::kCancelled);
    RunOut();
    EXPECT_EQ(Tokens(other), alone) << "cancelled at step " << cancel_at;
    EXPECT_EQ(outcomes_[cancelled].finished.size(), 1U);
  }
}

TEST_F(BatchTest, CancellingAnUnknownRequestDoesNothing) {
  Start(2);
  std::vector<Event> events;
  batch_->Cancel(77, &events);
  EXPECT_TRUE(events.empty());
}

TEST_F(BatchTest, AFailingPrefillFailsOnlyItsSequence) {
  const auto alone = Alone(Prompt(6, 2));
  Start(3, 8);
  decoder_->fail_prefill = [](auto tokens) { return tokens[0] == 5; };
  const RequestId broken = Admit({5, 5, 5});
  const RequestId other = Admit(Prompt(6, 2));
  RunOut();
  EXPECT_EQ(outcomes_[broken].failed.at(0).message, "prefill broke");
  EXPECT_EQ(outcomes_[broken].failed[0].code, ErrorCode::kGenerationFailed);
  EXPECT_TRUE(outcomes_[broken].finished.empty());
  EXPECT_EQ(Tokens(other), alone);
}

TEST_F(BatchTest, AFailingDecodeFailsWhatItDecodedAndTheEngineGoesOn) {
  const auto alone = Alone(Prompt(30, 2));
  Start(3, 8);
  decoder_->next = [rule = decoder_->next](const auto& history) {
    return history.size() < 30 ? TokenId{1} : rule(history);
  };
  const RequestId decoding = Admit(Prompt(3, 1), 20);
  Step();
  const RequestId prefilling = Admit(Prompt(30, 2));
  decoder_->fail_next_decode = true;
  Step();
  EXPECT_EQ(outcomes_[decoding].failed.at(0).message, "decode broke");
  EXPECT_EQ(batch_->running(), 1);
  RunOut();
  EXPECT_EQ(Tokens(prefilling), alone);
}

TEST_F(BatchTest, AFailingDecodeSparesARowThatOnlyFillsTheBatch) {
  const auto alone = Alone(Prompt(40, 2));
  Start(3, 8);
  decoder_->next = [rule = decoder_->next](const auto& history) {
    return history.size() < 40 ? TokenId{1} : rule(history);
  };
  Admit(Prompt(2, 1), 2);
  const RequestId decoding = Admit(Prompt(2, 3), 30);
  const RequestId prefilling = Admit(Prompt(40, 2));
  while (decoder_->moves.empty()) Step();
  // The prefilling row has moved below the decoding one and is part of its calls.
  decoder_->fail_next_decode = true;
  Step();
  EXPECT_EQ(outcomes_[decoding].failed.size(), 1U);
  RunOut();
  EXPECT_EQ(Tokens(prefilling), alone);
}

TEST_F(BatchTest, LogitsThatAreNotNumbersFailOnlyTheirSequence) {
  Start(3, 8);
  decoder_->next = [](const auto&) { return TokenId{1}; };
  decoder_->poison = [](const auto& history) { return history[0] == 9 && history.size() == 5; };
  const RequestId poisoned = Admit({9, 9, 9}, 20);
  const RequestId other = Admit({8, 8, 8}, 6);
  RunOut();
  EXPECT_NE(outcomes_[poisoned].failed.at(0).message.find("not numbers"), std::string::npos);
  EXPECT_EQ(outcomes_[other].finished.at(0).completion_tokens, 6);
}

TEST_F(BatchTest, EverySequenceFailsWhenAskedAndTheBatchIsUsableAgain) {
  Start(3, 8);
  const RequestId first = Admit(Prompt(3, 1));
  Admit(Prompt(20, 1));
  Step();
  std::vector<Event> events;
  batch_->FailAll("out of memory", &events);
  Take(events);
  EXPECT_EQ(outcomes_[first].failed.at(0).message, "out of memory");
  EXPECT_EQ(batch_->running(), 0);
  const RequestId later = Admit(Prompt(3, 1));
  RunOut();
  EXPECT_EQ(outcomes_[later].finished.size(), 1U);
}

TEST_F(BatchTest, CancellingEndsEveryAnswerOfARequestAndNoOther) {
  for (int cancel_at = 0; cancel_at < 8; ++cancel_at) {
    Start(5, 4);
    const RequestId other = Admit(Prompt(6, 2), 12);
    const RequestId id = Admit(Several(4, 14, {.temperature = 1.0F}, 40));
    for (int step = 0; step < cancel_at; ++step) Step();
    int over = 0;
    for (int answer = 0; answer < 4; ++answer) over += outcomes_[Key(id, answer)].finished.empty();
    if (over < 4) continue;
    std::vector<Event> events;
    batch_->Cancel(id, &events);
    batch_->Cancel(id, &events);
    Take(events);
    for (int answer = 0; answer < 4; ++answer) {
      ASSERT_EQ(outcomes_[Key(id, answer)].finished.size(), 1U) << answer << " at " << cancel_at;
      EXPECT_EQ(outcomes_[Key(id, answer)].finished[0].reason, FinishReason::kCancelled);
    }
    RunOut();
    EXPECT_EQ(outcomes_[other].finished.size(), 1U);
    EXPECT_EQ(batch_->free_slots(), 5);
  }
}

TEST_F(BatchTest, AFailingPrefillGivesPromisedSlotsBack) {
  Start(4, 8);
  decoder_->fail_prefill = [](auto) { return true; };
  const RequestId id = Admit(Several(3, 20, {.temperature = 0}));
  RunOut();
  EXPECT_EQ(outcomes_[id].failed.size(), 1U);
  EXPECT_EQ(batch_->free_slots(), 4);
}

}  // namespace
}  // namespace llmrouter
