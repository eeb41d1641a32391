// A device may fail to copy keys and values: whoever they belong to ends with the reason, its slot
// is free again, and the others go on.

#include <gtest/gtest.h>

#include "batch_fixture.h"

namespace llmrouter {
namespace {

using CopyOf = FakeDecoder::CopyOf;

class BatchCopiesTest : public BatchTest {
 protected:
  void Break(CopyOf copy) {
    decoder_->fail_copy = [copy](CopyOf tried) { return tried == copy; };
  }

  void ExpectFailed(RequestId id) {
    ASSERT_GE(outcomes_[id].failed.size(), 1U);
    EXPECT_EQ(outcomes_[id].failed[0].message, "the device cannot copy");
    EXPECT_EQ(outcomes_[id].failed[0].code, ErrorCode::kGenerationFailed);
    EXPECT_TRUE(outcomes_[id].finished.empty());
  }

  /// The others say what they say alone, and every slot can be had again.
  void ExpectTheRestWell(RequestId other, const std::vector<TokenId>& alone) {
    RunOut();
    EXPECT_EQ(Tokens(other), alone);
    EXPECT_EQ(batch_->free_slots(), batch_->limits().slots);
    decoder_->fail_copy = nullptr;
    const RequestId later = Admit(Prompt(6, 2), 12);
    RunOut();
    EXPECT_EQ(Tokens(later), alone);
  }
};

TEST_F(BatchCopiesTest, WhoIsParkedAndCannotBeLoadedFailsAlone) {
  const auto alone = Alone(Prompt(6, 2), 12);
  Start(3);
  const RequestId other = Admit(Prompt(6, 2), 12);
  const RequestId id = Admit(Prompt(9, 1), 30);
  for (int step = 0; step < 4; ++step) Step();
  auto parked = Park(1);
  Break(CopyOf::kLoad);
  Admit(std::move(parked));
  EXPECT_EQ(batch_->running(), 1);
  ExpectFailed(id);
  ExpectTheRestWell(other, alone);
}

TEST_F(BatchCopiesTest, WhoCannotBeSavedFailsAlone) {
  const auto alone = Alone(Prompt(6, 2), 12);
  Start(3);
  const RequestId id = Admit(Prompt(9, 1), 30);
  const RequestId other = Admit(Prompt(6, 2), 12);
  for (int step = 0; step < 4; ++step) Step();
  Break(CopyOf::kSave);
  EXPECT_EQ(Park(0), nullptr);
  EXPECT_EQ(batch_->running(), 1);
  ExpectFailed(id);
  ExpectTheRestWell(other, alone);
}

TEST_F(BatchCopiesTest, AnAnswerThatCannotHaveItsPromptFailsItsRequest) {
  const auto alone = Alone(Prompt(6, 2), 12);
  Start(4);
  const RequestId other = Admit(Prompt(6, 2), 12);
  Break(CopyOf::kMove);
  const RequestId id = Admit(Several(3, 9, {.temperature = 0}, 30));
  while (outcomes_[id].failed.empty()) Step();
  ExpectFailed(id);
  // What is left of it ends when whoever reads it leaves.
  std::vector<Event> events;
  batch_->Cancel(id, &events);
  Take(events);
  EXPECT_EQ(batch_->free_slots(), 3);
  ExpectTheRestWell(other, alone);
}

TEST_F(BatchCopiesTest, WhoCannotMoveIntoAHoleFailsAloneHoweverManyThereAre) {
  const auto alone = Alone(Prompt(6, 2), 12);
  for (int leaving = 1; leaving <= 3; ++leaving) {
    Start(6);
    const RequestId other = Admit(Prompt(6, 2), 12);
    for (int i = 0; i < leaving; ++i) Admit(Prompt(3, i), 2);
    std::vector<RequestId> lost;
    for (int i = 0; i < leaving && i < 2; ++i) lost.push_back(Admit(Prompt(9, 10 + i), 30));
    Break(CopyOf::kMove);
    const int running = batch_->running();
    while (batch_->running() == running) Step();
    EXPECT_EQ(batch_->running(), 1) << "whoever is lost is told of it at once";
    for (const RequestId id : lost) ExpectFailed(id);
    ExpectTheRestWell(other, alone);
  }
}

TEST_F(BatchCopiesTest, WhoeverMovesIntoTheHoleOfAParkedOneFailsAlone) {
  const auto alone = Alone(Prompt(6, 2), 12);
  Start(3);
  const RequestId parked = Admit(Prompt(6, 2), 12);
  const RequestId other = Admit(Prompt(4, 2), 30);
  const RequestId lost = Admit(Prompt(9, 1), 30);
  for (int step = 0; step < 4; ++step) Step();
  bool broken = false;
  decoder_->fail_copy = [&](CopyOf copy) {
    return copy == CopyOf::kMove && !std::exchange(broken, true);
  };
  auto sequence = Park(0);
  ASSERT_NE(sequence, nullptr);
  EXPECT_EQ(batch_->RunningIds(), (std::vector<RequestId>{other}));
  ExpectFailed(lost);
  Admit(std::move(sequence));
  ExpectTheRestWell(parked, alone);
}

TEST_F(BatchCopiesTest, APromptWhoseBeginningCannotBeLoadedFailsAlone) {
  const auto alone = Alone(Prompt(6, 2), 12);
  prefix_ = 1 << 20;
  Start(3);
  Admit(Prompt(40, 1), 1);
  RunOut();
  const RequestId other = Admit(Prompt(6, 2), 12);
  Break(CopyOf::kLoad);
  const RequestId id = Admit(Prompt(40, 1), 12);
  Step();
  ExpectFailed(id);
  ExpectTheRestWell(other, alone);
}

TEST_F(BatchCopiesTest, APromptThatCannotBeKeptForOthersIsAnswered) {
  const auto alone = Alone(Prompt(40, 1), 12);
  prefix_ = 1 << 20;
  Start(2);
  Break(CopyOf::kSave);
  const RequestId id = Admit(Prompt(40, 1), 12);
  RunOut();
  EXPECT_EQ(Tokens(id), alone);
  EXPECT_EQ(batch_->prefix_bytes(), 0U);
}

}  // namespace
}  // namespace llmrouter
