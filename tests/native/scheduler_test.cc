#include "llmrouter/scheduler.h"

#include <gtest/gtest.h>

#include "scheduler_fixture.h"

namespace llmrouter {
namespace {

using std::chrono::seconds;

TEST_F(SchedulerTest, AHigherClassGoesFirstAndEqualsInOrderOfArrival) {
  Start(1);
  const RequestId running = Add(Priority::kHigh);
  Step();
  const RequestId low = Add(Priority::kLow);
  const RequestId first = Add(Priority::kNormal);
  const RequestId second = Add(Priority::kNormal);
  const RequestId high = Add(Priority::kHigh);
  RunOut();
  EXPECT_EQ(ended_, (std::vector<RequestId>{running, high, first, second, low}));
}

TEST_F(SchedulerTest, ALowerClassThatWaitedLongEnoughIsOvertakenNoMore) {
  Start(1);
  Add(Priority::kNormal, {1, 2}, 2);
  Step();
  const RequestId low = Add(Priority::kLow);
  now_ += seconds(11);
  const RequestId normal = Add(Priority::kNormal);
  RunOut();
  EXPECT_LT(std::find(ended_.begin(), ended_.end(), low),
            std::find(ended_.begin(), ended_.end(), normal));
}

TEST_F(SchedulerTest, ALowerClassGivesWayAndGoesOnAsIfNothingHadHappened) {
  for (const std::size_t memory : {std::size_t{0}, std::size_t{1} << 20}) {
    Start(1);
    const RequestId alone = Add(Priority::kLow, {5, 6, 7}, 20);
    RunOut();
    const auto expected = AnswersOf(alone, 1);
    Start(1, memory);
    const RequestId low = Add(Priority::kLow, {5, 6, 7}, 20);
    for (int step = 0; step < 6; ++step) Step();
    const RequestId high = Add(Priority::kHigh);
    RunOut();
    EXPECT_EQ(ended_, (std::vector<RequestId>{high, low}));
    EXPECT_EQ(AnswersOf(low, 1), expected);
    EXPECT_EQ(scheduler_->preemptions(), 1U);
    EXPECT_EQ(scheduler_->parked_bytes(), 0U);
  }
}

TEST_F(SchedulerTest, WhoIsHeldLeavesTheSlotToOthersAndGoesOnAsIfNothingHadHappened) {
  for (const std::size_t memory : {std::size_t{0}, std::size_t{1} << 20}) {
    Start(1);
    const RequestId alone = Add(Priority::kNormal, {5, 6, 7}, 20);
    RunOut();
    const auto expected = AnswersOf(alone, 1);
    Start(1, memory);
    const RequestId slow = Add(Priority::kHigh, {5, 6, 7}, 20);
    for (int step = 0; step < 6; ++step) Step();
    Hold(slow);
    EXPECT_EQ(scheduler_->parked_bytes() > 0, memory > 0);
    EXPECT_TRUE(scheduler_->idle());
    const RequestId other = Add(Priority::kLow);
    RunOut();
    EXPECT_EQ(ended_, (std::vector<RequestId>{other}));
    scheduler_->Resume(slow);
    scheduler_->Resume(slow);
    RunOut();
    EXPECT_EQ(AnswersOf(slow, 1), expected);
    EXPECT_EQ(scheduler_->parked_bytes(), 0U);
  }
}

TEST_F(SchedulerTest, WhoIsHeldCanBeCancelledAndEndsWithItsDeadline) {
  Start(1);
  const RequestId cancelled = Add(Priority::kNormal, {1, 2}, 9);
  const RequestId late = Add(Priority::kNormal, {1, 2}, 9, now_ + seconds(1));
  Step();
  Hold(cancelled);
  Hold(late);
  Hold(99);
  EXPECT_TRUE(scheduler_->idle());
  Cancel(cancelled);
  EXPECT_EQ(ended_, (std::vector<RequestId>{cancelled}));
  now_ += seconds(2);
  Step();
  EXPECT_EQ(failures_[late], ErrorCode::kDeadlineExceeded);
}

TEST_F(SchedulerTest, AnEqualClassGivesNoWay) {
  Start(1);
  Add(Priority::kNormal, {1, 2}, 20);
  Step();
  Add(Priority::kNormal);
  RunOut();
  EXPECT_EQ(scheduler_->preemptions(), 0U);
}

TEST_F(SchedulerTest, NobodyGivesWayWhenThatWouldNotBeEnough) {
  Start(2);
  Add(Priority::kHigh, {1, 2}, 20);
  Add(Priority::kLow, {3, 4}, 20);
  Step();
  Add(Several(2, Priority::kNormal, 2));
  Step();
  EXPECT_EQ(scheduler_->batch().running(), 2);
  EXPECT_EQ(scheduler_->preemptions(), 0U);
  RunOut();
}

TEST_F(SchedulerTest, AsManyGiveWayAsThereAreAnswersToMake) {
  Start(2);
  Add(Priority::kLow, {1, 2}, 20);
  Add(Priority::kLow, {3, 4}, 20);
  Step();
  Add(Several(2, Priority::kHigh, 2));
  Step();
  EXPECT_EQ(scheduler_->preemptions(), 2U);
  RunOut();
  EXPECT_EQ(ended_.size(), 4U);
}

TEST_F(SchedulerTest, AnswersOfALowerClassGiveWayOneByOneAndGoOnAsIfNothingHadHappened) {
  for (const std::size_t memory : {std::size_t{0}, std::size_t{1} << 20}) {
    Start(4);
    const RequestId alone = Add(Several(4, Priority::kLow, 20));
    RunOut();
    const auto expected = AnswersOf(alone, 4);
    for (int before = 1; before < 12; ++before) {
      Start(4, memory);
      const RequestId low = Add(Several(4, Priority::kLow, 20));
      for (int step = 0; step < before; ++step) Step();
      const RequestId high = Add(Priority::kHigh);
      const RequestId two = Add(Several(2, Priority::kNormal, 6));
      RunOut();
      // Until its prompt is computed it is one sequence, which gives all its slots up.
      EXPECT_LE(scheduler_->preemptions(), 3U);
      EXPECT_EQ(ended_.front(), high);
      EXPECT_EQ(std::ranges::count(ended_, low), 4);
      EXPECT_EQ(std::ranges::count(ended_, two), 2);
      EXPECT_EQ(AnswersOf(low, 4), expected);
      EXPECT_EQ(scheduler_->batch().free_slots(), 4);
    }
  }
}

TEST_F(SchedulerTest, CancellingEndsTheAnswersThatRunAndThoseThatGaveWay) {
  Start(3);
  const RequestId low = Add(Several(3, Priority::kLow, 20));
  for (int step = 0; step < 4; ++step) Step();
  const RequestId high = Add(Priority::kHigh, {1, 2}, 9);
  Step();
  EXPECT_EQ(scheduler_->waiting(), 1);
  Cancel(low);
  EXPECT_EQ(ended_, (std::vector<RequestId>{low, low, low}));
  EXPECT_EQ(scheduler_->waiting(), 0);
  RunOut();
  EXPECT_EQ(ended_.back(), high);
}

TEST_F(SchedulerTest, SeveralAnswersAreHeldTogetherAndGoOnAsIfNothingHadHappened) {
  Start(3);
  const RequestId alone = Add(Several(3, Priority::kNormal, 20));
  RunOut();
  const auto expected = AnswersOf(alone, 3);
  for (int before = 1; before < 12; ++before) {
    Start(3);
    const RequestId slow = Add(Several(3, Priority::kNormal, 20));
    for (int step = 0; step < before; ++step) Step();
    Hold(slow);
    EXPECT_TRUE(scheduler_->idle());
    EXPECT_EQ(scheduler_->batch().free_slots(), 3);
    Add(Several(3, Priority::kLow, 4));
    RunOut();
    scheduler_->Resume(slow);
    EXPECT_EQ(scheduler_->held(), 0);
    RunOut();
    EXPECT_EQ(AnswersOf(slow, 3), expected);
  }
}

TEST_F(SchedulerTest, NoMoreAreHeldThanMayWait) {
  most_waiting_ = 2;
  Start(4);
  const RequestId first = Add(Priority::kNormal, {1, 2}, 9);
  const RequestId second = Add(Priority::kNormal, {3, 4}, 9);
  const RequestId third = Add(Priority::kNormal, {5, 6}, 9);
  Step();
  for (const RequestId id : {first, second, third}) Hold(id);
  EXPECT_EQ(scheduler_->held(), 2);
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(ended_, (std::vector<RequestId>{third}));
  EXPECT_EQ(failures_[third], ErrorCode::kSlowReader);
  EXPECT_EQ(scheduler_->batch().free_slots(), 4);
  scheduler_->Resume(first);
  // Two that wait leave no room for one more, however many slots are free.
  Hold(first);
  EXPECT_EQ(scheduler_->held(), 2);
}

TEST_F(SchedulerTest, UnderEndlessHigherLoadALowerClassBeginsOnceItsAgeHasMadeUpForIt) {
  Start(1);
  for (int i = 0; i < 3; ++i) Add(Priority::kHigh);
  const RequestId low = Add(Priority::kLow);
  int steps = 0;
  for (; begun_.count(low) == 0; ++steps) {
    ASSERT_LT(steps, 100);
    if (scheduler_->waiting() < 4) Add(Priority::kHigh);
    Step();
  }
  // Two classes are worth 20 steps; then those before it have 5 steps each.
  EXPECT_GE(steps, 20);
  EXPECT_LE(steps, 20 + 5 * 5);
}

TEST_F(SchedulerTest, WhoWouldNotFitIntoTheMemoryWaitsThoughSlotsAreFree) {
  Start(4, 1 << 20, 20);
  const RequestId first = Add(Priority::kNormal, {1, 2, 3}, 9);
  const RequestId second = Add(Priority::kNormal, {4, 5, 6}, 6);
  Step();
  EXPECT_EQ(scheduler_->batch().running(), 1);
  EXPECT_EQ(scheduler_->waiting(), 1);
  RunOut();
  EXPECT_EQ(ended_, (std::vector<RequestId>{first, second}));
}

TEST_F(SchedulerTest, ALowerClassGivesItsMemoryToAHigherOne) {
  Start(4, 1 << 20, 20);
  const RequestId low = Add(Priority::kLow, {1, 2, 3}, 9);
  Step();
  const RequestId high = Add(Priority::kHigh, {4, 5, 6}, 9);
  RunOut();
  EXPECT_EQ(ended_, (std::vector<RequestId>{high, low}));
  EXPECT_EQ(scheduler_->preemptions(), 1U);
}

TEST_F(SchedulerTest, ADeadlineThatPassesInTheQueueCostsNoPrefill) {
  Start(1);
  Add(Priority::kNormal, {1, 2}, 30);
  Step();
  const RequestId late = Add(Priority::kNormal, {9, 9}, 4, now_ + std::chrono::milliseconds(50));
  const std::size_t calls = decoder_->calls.size();
  for (int step = 0; step < 10; ++step) Step();
  EXPECT_EQ(failures_.at(late), ErrorCode::kDeadlineExceeded);
  for (std::size_t call = calls; call < decoder_->calls.size(); ++call) {
    EXPECT_FALSE(decoder_->calls[call].prefill);
  }
}

TEST_F(SchedulerTest, ADeadlineEndsARunningSequence) {
  Start(1);
  const RequestId late = Add(Priority::kNormal, {1, 2}, 200, now_ + std::chrono::milliseconds(45));
  RunOut();
  EXPECT_EQ(failures_.at(late), ErrorCode::kDeadlineExceeded);
}

TEST(WaitingQueueTest, ALongQueueIsTakenInOrderWhateverLeavesIt) {
  WaitingQueue queue(seconds(10));
  const Clock::time_point now = Clock::now();
  for (RequestId id = 1; id <= 10'000; ++id) {
    Request request;
    request.prompt = {1};
    request.priority = static_cast<Priority>(id % 3);
    queue.Push(std::make_unique<Sequence>(
        Submission{id, std::move(request), now + std::chrono::microseconds(id)}, 1));
  }
  for (RequestId id = 5; id <= 10'000; id += 5) EXPECT_NE(queue.Remove(id), nullptr);
  EXPECT_EQ(queue.Remove(5), nullptr);
  EXPECT_EQ(queue.size(), 8'000);
  int last_class = 2;
  RequestId last = 0;
  while (queue.Next() != nullptr) {
    const auto sequence = queue.Pop();
    const int priority = static_cast<int>(sequence->request().priority);
    if (priority != last_class) last = 0;
    EXPECT_LE(priority, last_class);
    EXPECT_GT(sequence->id(), last);
    last_class = priority;
    last = sequence->id();
  }
}

}  // namespace
}  // namespace llmrouter
