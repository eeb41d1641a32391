#include "llmrouter/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "fake_decoder.h"

namespace llmrouter {
namespace {

using std::chrono::seconds;

constexpr int kVocabulary = 64;

/// A scheduler stepped by hand, under a clock of the test's own.
class SchedulerTest : public testing::Test {
 protected:
  void Start(int slots, std::size_t parked_bytes = 1 << 20, std::int64_t positions = 0) {
    auto decoder = std::make_unique<FakeDecoder>(DecoderLimits{slots, 256, kVocabulary});
    decoder_ = decoder.get();
    const Vocabulary vocabulary(std::vector<std::string>(kVocabulary, "x"), {});
    SchedulerOptions options;
    options.batch = {.prefill_chunk = 16, .prefix_bytes = 4096};
    options.parked_bytes = parked_bytes;
    options.positions = positions_ = positions;
    scheduler_ = std::make_unique<Scheduler>(std::move(decoder), vocabulary, options);
    ended_.clear();
    tokens_.clear();
  }

  RequestId Add(Priority priority, std::vector<TokenId> prompt = {1, 2, 3}, int max_tokens = 4,
                std::optional<Clock::time_point> deadline = std::nullopt) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.priority = priority;
    request.deadline = deadline;
    request.trace = true;
    const RequestId id = next_id_++;
    scheduler_->Add(
        std::make_unique<Sequence>(Submission{id, std::move(request), now_}, max_tokens));
    return id;
  }

  void Take(const std::vector<Event>& events) {
    for (const Event& event : events) {
      if (const auto* finished = std::get_if<Finished>(&event)) {
        ended_.push_back(finished->id);
        tokens_[finished->id] = finished->tokens;
      } else if (const auto* failed = std::get_if<Failed>(&event)) {
        ended_.push_back(failed->id);
        failures_[failed->id] = failed->code;
      } else {
        const RequestId id = std::get<TextDelta>(event).id;
        EXPECT_EQ(std::count(ended_.begin(), ended_.end(), id), 0) << "text after the end";
      }
    }
  }

  void Step() {
    std::vector<Event> events;
    scheduler_->Arrange(now_, &events);
    scheduler_->Step(&events);
    Take(events);
    if (positions_ > 0) {
      EXPECT_LE(scheduler_->batch().reserved(), positions_);
    }
    now_ += std::chrono::milliseconds(10);
  }

  void Cancel(RequestId id) {
    std::vector<Event> events;
    scheduler_->Cancel(id, &events);
    Take(events);
  }

  void RunOut() {
    for (int step = 0; !scheduler_->idle(); ++step) {
      ASSERT_LT(step, 100'000) << "it never ends";
      Step();
    }
  }

  FakeDecoder* decoder_ = nullptr;
  std::int64_t positions_ = 0;
  std::unique_ptr<Scheduler> scheduler_;
  Clock::time_point now_ = Clock::now();
  RequestId next_id_ = 1;
  std::vector<RequestId> ended_;
  std::map<RequestId, std::vector<TokenId>> tokens_;
  std::map<RequestId, ErrorCode> failures_;
};

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
    const auto expected = tokens_[alone];
    Start(1, memory);
    const RequestId low = Add(Priority::kLow, {5, 6, 7}, 20);
    for (int step = 0; step < 6; ++step) Step();
    const RequestId high = Add(Priority::kHigh);
    RunOut();
    EXPECT_EQ(ended_, (std::vector<RequestId>{high, low}));
    EXPECT_EQ(tokens_[low], expected);
    EXPECT_EQ(scheduler_->preemptions(), 1U);
    EXPECT_EQ(scheduler_->parked_bytes(), 0U);
  }
}

TEST_F(SchedulerTest, WhoIsHeldLeavesTheSlotToOthersAndGoesOnAsIfNothingHadHappened) {
  for (const std::size_t memory : {std::size_t{0}, std::size_t{1} << 20}) {
    Start(1);
    const RequestId alone = Add(Priority::kNormal, {5, 6, 7}, 20);
    RunOut();
    const auto expected = tokens_[alone];
    Start(1, memory);
    const RequestId slow = Add(Priority::kHigh, {5, 6, 7}, 20);
    for (int step = 0; step < 6; ++step) Step();
    scheduler_->Hold(slow);
    EXPECT_EQ(scheduler_->parked_bytes() > 0, memory > 0);
    EXPECT_TRUE(scheduler_->idle());
    const RequestId other = Add(Priority::kLow);
    RunOut();
    EXPECT_EQ(ended_, (std::vector<RequestId>{other}));
    scheduler_->Resume(slow);
    scheduler_->Resume(slow);
    RunOut();
    EXPECT_EQ(tokens_[slow], expected);
    EXPECT_EQ(scheduler_->parked_bytes(), 0U);
  }
}

TEST_F(SchedulerTest, WhoIsHeldCanBeCancelledAndEndsWithItsDeadline) {
  Start(1);
  const RequestId cancelled = Add(Priority::kNormal, {1, 2}, 9);
  const RequestId late = Add(Priority::kNormal, {1, 2}, 9, now_ + seconds(1));
  Step();
  scheduler_->Hold(cancelled);
  scheduler_->Hold(late);
  scheduler_->Hold(99);
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
  Request several;
  several.prompt = {5, 6};
  several.max_tokens = 2;
  several.answers = 2;
  several.priority = Priority::kNormal;
  scheduler_->Add(std::make_unique<Sequence>(Submission{next_id_++, std::move(several), now_}, 2));
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
  Request several;
  several.prompt = {5, 6};
  several.max_tokens = 2;
  several.answers = 2;
  several.priority = Priority::kHigh;
  scheduler_->Add(std::make_unique<Sequence>(Submission{next_id_++, std::move(several), now_}, 2));
  Step();
  EXPECT_EQ(scheduler_->preemptions(), 2U);
  RunOut();
  EXPECT_EQ(ended_.size(), 4U);
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

TEST_F(SchedulerTest, WhateverComesEveryRequestEndsOnceAndSaysWhatItSaysAlone) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const auto prompt = [&random] {
      // Few beginnings, so that prompts share prefixes.
      std::vector<TokenId> tokens(random() % 3 * 33, static_cast<TokenId>(random() % 2));
      const std::size_t more = 1 + random() % 40;
      for (std::size_t i = 0; i < more; ++i) {
        tokens.push_back(static_cast<TokenId>(random() % kVocabulary));
      }
      return tokens;
    };
    std::vector<std::pair<std::vector<TokenId>, int>> asks;
    for (int i = 0; i < 60; ++i) asks.emplace_back(prompt(), 1 + random() % 20);
    std::vector<std::vector<TokenId>> alone;
    Start(1);
    for (const auto& [tokens, limit] : asks) {
      const RequestId id = Add(Priority::kNormal, tokens, limit);
      RunOut();
      alone.push_back(tokens_[id]);
    }

    // The largest request takes 126 positions.
    Start(1 + random() % 5, random() % 2 == 0 ? 200 : 1 << 20, random() % 2 == 0 ? 0 : 150);
    failures_.clear();
    std::vector<RequestId> ids;
    std::size_t broken = 0;
    for (std::size_t next = 0; next < asks.size() || !scheduler_->idle();) {
      for (auto joining = random() % 3; joining > 0 && next < asks.size(); --joining, ++next) {
        std::optional<Clock::time_point> deadline;
        if (random() % 8 == 0) deadline = now_ + std::chrono::milliseconds(random() % 400);
        ids.push_back(Add(static_cast<Priority>(random() % 3), asks[next].first, asks[next].second,
                          deadline));
      }
      if (random() % 10 == 0 && !ids.empty()) Cancel(ids[random() % ids.size()]);
      if (random() % 200 == 0) {
        decoder_->fail_next_decode = true;
        ++broken;
      }
      Step();
    }
    std::vector<RequestId> ended = ended_;
    std::sort(ended.begin(), ended.end());
    EXPECT_EQ(ended, ids) << "seed " << seed;
    EXPECT_EQ(scheduler_->parked_bytes(), 0U);
    EXPECT_EQ(scheduler_->batch().free_slots(), scheduler_->batch().limits().slots);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      // A cancelled or failed one said a beginning of it; the others said it all.
      const auto& said = tokens_[ids[i]];
      ASSERT_LE(said.size(), alone[i].size());
      EXPECT_TRUE(std::equal(said.begin(), said.end(), alone[i].begin()))
          << "seed " << seed << ", request " << i << ", failures " << broken;
    }
  }
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
