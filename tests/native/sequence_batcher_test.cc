#include "llmrouter/sequence_batcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

namespace llmrouter {
namespace {

constexpr double kPadding = 0.3;

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

BatcherOptions Options(int max_batch, Clock::duration window = milliseconds(0),
                       int max_waiting = 1000) {
  BatcherOptions options;
  options.max_waiting = max_waiting;
  options.grouping.max_batch = max_batch;
  options.grouping.max_padding = kPadding;
  options.grouping.window = window;
  return options;
}

RequestId Submit(SequenceBatcher& batcher, int length, Priority priority = Priority::kNormal) {
  return batcher.Submit(length, priority, std::nullopt);
}

std::optional<ErrorCode> Refusal(SequenceBatcher& batcher, int length) {
  try {
    Submit(batcher, length);
  } catch (const Error& error) {
    return error.code();
  }
  return std::nullopt;
}

using Ids = std::vector<RequestId>;

TEST(SequenceBatcherTest, RequestsOfLikeLengthShareABatch) {
  SequenceBatcher batcher(Options(8));
  const RequestId a = Submit(batcher, 10);
  const RequestId b = Submit(batcher, 400);
  const RequestId c = Submit(batcher, 9);
  EXPECT_EQ(batcher.Take(seconds(9)), (Ids{a, c}));
  EXPECT_EQ(batcher.Take(seconds(9)), (Ids{b}));
}

TEST(SequenceBatcherTest, AHigherClassGoesFirstAndTheLowerOneAges) {
  BatcherOptions options = Options(1);
  options.ageing = hours(1);
  SequenceBatcher batcher(options);
  const RequestId low = Submit(batcher, 1, Priority::kLow);
  const RequestId normal = Submit(batcher, 1);
  const RequestId high = Submit(batcher, 1, Priority::kHigh);
  EXPECT_EQ(batcher.Take(seconds(9)), Ids{high});
  EXPECT_EQ(batcher.Take(seconds(9)), Ids{normal});
  EXPECT_EQ(batcher.Take(seconds(9)), Ids{low});

  options.ageing = milliseconds(0);  // Every class has aged at once.
  SequenceBatcher fair(options);
  const RequestId first = Submit(fair, 1, Priority::kLow);
  Submit(fair, 1, Priority::kHigh);
  EXPECT_EQ(fair.Take(seconds(9)), Ids{first});
}

TEST(SequenceBatcherTest, ALoneRequestRunsAfterItsWindow) {
  SequenceBatcher batcher(Options(8, milliseconds(30)));
  const RequestId id = Submit(batcher, 1);
  EXPECT_TRUE(batcher.Take(milliseconds(0)).empty());
  EXPECT_EQ(batcher.Take(seconds(60)), Ids{id});
}

TEST(SequenceBatcherTest, AFullBatchDoesNotWaitForTheWindow) {
  SequenceBatcher batcher(Options(2, hours(1)));
  const Ids ids = {Submit(batcher, 1), Submit(batcher, 1)};
  EXPECT_EQ(batcher.Take(milliseconds(0)), ids);
}

TEST(SequenceBatcherTest, AFullQueueRefusesUntilSomeoneLeaves) {
  SequenceBatcher batcher(Options(1, milliseconds(0), 2));
  const RequestId first = Submit(batcher, 1);
  Submit(batcher, 1);
  EXPECT_EQ(Refusal(batcher, 1), ErrorCode::kQueueFull);
  batcher.Cancel(first);
  EXPECT_EQ(Refusal(batcher, 1), std::nullopt);
}

TEST(SequenceBatcherTest, RoomCountsThePlacesThatAreFreeOfExpiredRequestsToo) {
  SequenceBatcher batcher(Options(1, milliseconds(0), 3));
  EXPECT_EQ(batcher.Room(), 3);
  Submit(batcher, 1);
  batcher.Submit(1, Priority::kNormal, Clock::now());
  EXPECT_EQ(batcher.Room(), 2);
}

TEST(SequenceBatcherTest, RequestsOfAnotherKindWaitForABatchOfTheirOwn) {
  SequenceBatcher batcher(Options(8));
  const RequestId first = batcher.Submit(5, Priority::kNormal, std::nullopt, 1);
  const RequestId other = batcher.Submit(5, Priority::kNormal, std::nullopt, 2);
  const RequestId alike = batcher.Submit(5, Priority::kNormal, std::nullopt, 1);
  EXPECT_EQ(batcher.Take(seconds(9)), (Ids{first, alike}));
  EXPECT_EQ(batcher.Take(seconds(9)), Ids{other});
}

TEST(SequenceBatcherTest, WhatHasNoLengthOrComesTooLateIsRefused) {
  SequenceBatcher batcher(Options(1));
  EXPECT_EQ(Refusal(batcher, 0), ErrorCode::kInvalidArgument);
  batcher.Stop();
  EXPECT_EQ(Refusal(batcher, 1), ErrorCode::kStopped);
  EXPECT_TRUE(batcher.Take(hours(1)).empty());
}

TEST(SequenceBatcherTest, AnExpiredRequestIsDroppedBeforeItCosts) {
  SequenceBatcher batcher(Options(8));
  const RequestId late = batcher.Submit(1, Priority::kHigh, Clock::now());
  const RequestId fine = Submit(batcher, 1);
  EXPECT_EQ(batcher.Take(seconds(9)), Ids{fine});
  const std::vector<Event> events = batcher.Drain();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(std::get<Failed>(events[0]).id, late);
  EXPECT_EQ(std::get<Failed>(events[0]).code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(batcher.Statistics().expired, 1U);
}

TEST(SequenceBatcherTest, ADeadlineThatPassesWhileItRunsMakesARequestUnwanted) {
  SequenceBatcher batcher(Options(8));
  const Clock::time_point deadline = Clock::now() + milliseconds(200);
  const RequestId id = batcher.Submit(1, Priority::kNormal, deadline);
  ASSERT_EQ(batcher.Take(seconds(9)), Ids{id});
  std::this_thread::sleep_until(deadline);
  EXPECT_FALSE(batcher.Wanted(id));
  batcher.Finish(id, FinishReason::kStop, "", 1);
  EXPECT_EQ(batcher.Drain().size(), 1U);
}

TEST(SequenceBatcherTest, ACancelledRunningRequestIsNoLongerWantedAndEndsOnce) {
  SequenceBatcher batcher(Options(8));
  const RequestId id = Submit(batcher, 3);
  batcher.Take(seconds(9));
  EXPECT_TRUE(batcher.Wanted(id));
  batcher.Cancel(id);
  EXPECT_FALSE(batcher.Wanted(id));
  batcher.Publish(id, "late", 1);
  batcher.Fail(id, ErrorCode::kGenerationFailed, "late");
  batcher.Cancel(id);
  const std::vector<Event> events = batcher.Drain();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(std::get<Finished>(events[0]).reason, FinishReason::kCancelled);
}

TEST(SequenceBatcherTest, TokensWithoutTextCountWithTheNextText) {
  SequenceBatcher batcher(Options(8));
  const RequestId id = Submit(batcher, 3);
  batcher.Take(seconds(9));
  batcher.Publish(id, "", 2);
  batcher.Publish(id, "abc", 1);
  batcher.Finish(id, FinishReason::kLength, "", 3);
  const std::vector<Event> events = batcher.Drain();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(std::get<TextDelta>(events[0]).tokens, 3);
  EXPECT_EQ(std::get<Finished>(events[1]).prompt_tokens, 3);
  EXPECT_EQ(std::get<Finished>(events[1]).completion_tokens, 3);
}

TEST(SequenceBatcherTest, NothingThatStillWaitsCanBeEndedByAWorker) {
  SequenceBatcher batcher(Options(8, hours(1)));
  const RequestId id = Submit(batcher, 3);
  batcher.Finish(id, FinishReason::kStop, "", 0);
  batcher.Fail(id, ErrorCode::kGenerationFailed, "");
  EXPECT_TRUE(batcher.Drain().empty());
  EXPECT_EQ(batcher.Statistics().waiting, 1);
}

TEST(SequenceBatcherTest, OptionsThatMakeNoSenseAreRefused) {
  EXPECT_THROW(SequenceBatcher{Options(0)}, Error);
  EXPECT_THROW(SequenceBatcher{Options(1, milliseconds(0), 0)}, Error);
  EXPECT_THROW(SequenceBatcher{Options(1, milliseconds(-1))}, Error);
}

TEST(SequenceBatcherTest, StatisticsCountPositionsAndEstimateTheWait) {
  SequenceBatcher batcher(Options(2));
  Submit(batcher, 10);
  Submit(batcher, 6);
  for (const RequestId id : batcher.Take(seconds(9))) {
    batcher.Finish(id, FinishReason::kStop, "", 7);
  }
  Submit(batcher, 1);
  const BatcherStatistics statistics = batcher.Statistics();
  EXPECT_EQ(statistics.batches, 1U);
  EXPECT_EQ(statistics.requests, 2U);
  EXPECT_EQ(statistics.tokens, 16U);
  EXPECT_EQ(statistics.positions, 20U);
  EXPECT_EQ(statistics.completion_tokens, 14U);
  EXPECT_EQ(statistics.waiting, 1);
  EXPECT_EQ(statistics.running, 0);
  EXPECT_GT(statistics.batch_seconds, 0);
}

/// Random callers, workers, cancels, deadlines and failures at once.
class Storm {
 public:
  explicit Storm(unsigned seed) : seed_(seed), batcher_(MakeOptions()) {}

  void Run() {
    std::vector<std::thread> workers;
    for (unsigned one = 0; one < 2; ++one) workers.emplace_back(&Storm::Work, this, one);
    std::vector<std::thread> callers;
    for (unsigned one = 0; one < 3; ++one) callers.emplace_back(&Storm::Call, this, one);
    for (std::thread& caller : callers) caller.join();
    WaitUntilIdle();
    batcher_.Stop();
    for (std::thread& worker : workers) worker.join();
    Count();
  }

  /// Last events per accepted request.
  std::map<RequestId, int> ends;
  std::set<RequestId> accepted;
  std::atomic<int> broken_bounds = 0;
  std::atomic<int> text_after_end = 0;

 private:
  static BatcherOptions MakeOptions() {
    BatcherOptions options = Options(4, milliseconds(1), 64);
    options.ageing = milliseconds(5);
    return options;
  }

  void Call(unsigned number) {
    std::mt19937 random(seed_ * 31 + number);
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    for (int count = 0; count < 300; ++count) {
      std::optional<Clock::time_point> deadline;
      if (draw(0, 4) == 0) deadline = Clock::now() + milliseconds(draw(0, 3));
      const int length = draw(1, 100);
      try {
        const std::lock_guard lock(mutex_);  // No worker may meet an id before its length is known.
        const RequestId id = batcher_.Submit(length, static_cast<Priority>(draw(0, 2)), deadline);
        accepted.insert(id);
        lengths_[id] = length;
        mine_.push_back(id);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kQueueFull);
        std::this_thread::sleep_for(milliseconds(1));
      }
      if (draw(0, 5) == 0) CancelOne(draw(0, 1 << 20));
      if (count % 20 == 0) std::this_thread::sleep_for(milliseconds(1));
    }
  }

  void CancelOne(int which) {
    RequestId id = 0;
    {
      const std::lock_guard lock(mutex_);
      if (mine_.empty()) return;
      id = mine_[which % mine_.size()];
    }
    batcher_.Cancel(id);
  }

  void Work(unsigned number) {
    std::mt19937 random(seed_ * 17 + number);
    while (!batcher_.stopped()) {
      const Ids batch = batcher_.Take(milliseconds(20));
      CheckBounds(batch);
      const bool fails = random() % 10 == 0;
      for (const RequestId id : batch) {
        if (batcher_.Wanted(id)) batcher_.Publish(id, "x", 1);
        if (fails) {
          batcher_.Fail(id, ErrorCode::kGenerationFailed, "the worker broke");
        } else {
          batcher_.Finish(id, FinishReason::kStop, "", 1);
        }
      }
    }
  }

  void CheckBounds(const Ids& batch) {
    const std::lock_guard lock(mutex_);
    int longest = 0;
    std::int64_t tokens = 0;
    for (const RequestId id : batch) {
      if (!taken_.insert(id).second) ++broken_bounds;
      longest = std::max(longest, lengths_.at(id));
      tokens += lengths_.at(id);
    }
    const int count = static_cast<int>(batch.size());
    if (count > 4 || PaddingShare(tokens, longest, count) > kPadding + 1e-12) ++broken_bounds;
  }

  void WaitUntilIdle() {
    const Clock::time_point give_up = Clock::now() + seconds(60);
    while (Clock::now() < give_up) {
      const BatcherStatistics now = batcher_.Statistics();
      if (now.waiting == 0 && now.running == 0) return;
      std::this_thread::sleep_for(milliseconds(1));
    }
    ADD_FAILURE() << "requests were left behind";
  }

  void Count() {
    for (const Event& event : batcher_.Drain()) {
      if (const auto* delta = std::get_if<TextDelta>(&event)) {
        if (ends.count(delta->id) != 0) ++text_after_end;
      } else if (const auto* finished = std::get_if<Finished>(&event)) {
        ++ends[finished->id];
      } else {
        ++ends[std::get<Failed>(event).id];
      }
    }
  }

  const unsigned seed_;
  SequenceBatcher batcher_;
  std::mutex mutex_;
  std::vector<RequestId> mine_;
  std::map<RequestId, int> lengths_;
  std::set<RequestId> taken_;
};

TEST(SequenceBatcherTest, EveryAcceptedRequestEndsOnceWhateverHappens) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    Storm storm(seed);
    storm.Run();
    EXPECT_EQ(storm.ends.size(), storm.accepted.size());
    for (const auto& [id, count] : storm.ends) {
      EXPECT_EQ(count, 1) << "request " << id << " with seed " << seed;
      EXPECT_EQ(storm.accepted.count(id), 1U);
    }
    EXPECT_EQ(storm.broken_bounds, 0);
    EXPECT_EQ(storm.text_after_end, 0);
  }
}

}  // namespace
}  // namespace llmrouter
