#include "llmrouter/grouping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace llmrouter {
namespace {

using std::chrono::milliseconds;

const Clock::time_point kNow = Clock::time_point(std::chrono::hours(1));
const Clock::time_point kLater = kNow + milliseconds(5);

std::vector<Waiting> Lengths(const std::vector<int>& lengths, Clock::time_point due) {
  std::vector<Waiting> waiting;
  for (const int length : lengths) waiting.push_back({length, due});
  return waiting;
}

GroupingLimits Limits(int max_batch, double max_padding, int max_positions = 1 << 20) {
  GroupingLimits limits;
  limits.max_batch = max_batch;
  limits.max_padding = max_padding;
  limits.max_positions = max_positions;
  return limits;
}

using Indices = std::vector<std::size_t>;

TEST(GroupingTest, NobodyWaitingMeansNoBatchEver) {
  const Grouping grouping = NextGroup({}, GroupingLimits{}, kNow);
  EXPECT_TRUE(grouping.members.empty());
  EXPECT_EQ(grouping.due, Clock::time_point::max());
}

TEST(GroupingTest, ARequestWaitsForCompanyUntilItIsDue) {
  const auto waiting = Lengths({5, 5}, kLater);
  EXPECT_TRUE(NextGroup(waiting, Limits(4, 0), kNow).members.empty());
  EXPECT_EQ(NextGroup(waiting, Limits(4, 0), kNow).due, kLater);
  EXPECT_EQ(NextGroup(waiting, Limits(4, 0), kLater).members, (Indices{0, 1}));
}

TEST(GroupingTest, AFullBatchRunsBeforeItIsDue) {
  EXPECT_EQ(NextGroup(Lengths({5, 5, 5}, kLater), Limits(2, 0), kNow).members, (Indices{0, 1}));
}

TEST(GroupingTest, AFullBatchDoesNotWaitForALongerRequestAhead) {
  EXPECT_EQ(NextGroup(Lengths({900, 5, 5}, kLater), Limits(2, 0.2), kNow).members, (Indices{1, 2}));
}

TEST(GroupingTest, WhoWouldCostTooMuchPaddingIsLeftForTheNextBatch) {
  EXPECT_EQ(NextGroup(Lengths({10, 100, 9, 90}, kNow), Limits(4, 0.1), kNow).members,
            (Indices{0, 2}));
}

TEST(GroupingTest, OneDueMemberMakesTheBatchDue) {
  const std::vector<Waiting> waiting = {{5, kLater}, {5, kNow}};
  EXPECT_EQ(NextGroup(waiting, Limits(8, 0), kNow).members, (Indices{0, 1}));
}

TEST(GroupingTest, PositionsAreBoundedButALongRequestStillRuns) {
  EXPECT_EQ(NextGroup(Lengths({10, 10, 10, 10}, kLater), Limits(8, 0, 30), kNow).members,
            (Indices{0, 1, 2}));
  EXPECT_EQ(NextGroup(Lengths({99, 1}, kLater), Limits(8, 0, 30), kNow).members, (Indices{0}));
}

TEST(GroupingTest, ADeadlineInsideTheWindowLeavesNoTimeToWait) {
  EXPECT_EQ(DueAt(kNow, std::nullopt, milliseconds(2)), kNow + milliseconds(2));
  EXPECT_EQ(DueAt(kNow, kNow + milliseconds(9), milliseconds(2)), kNow + milliseconds(2));
  EXPECT_EQ(DueAt(kNow, kNow + milliseconds(1), milliseconds(2)), kNow);
}

TEST(GroupingTest, PaddingIsTheShareOfPositionsWithoutATokenOfTheirOwn) {
  EXPECT_DOUBLE_EQ(PaddingShare(40, 20, 4), 0.5);
  EXPECT_DOUBLE_EQ(PaddingShare(7, 7, 1), 0);
}

TEST(GroupingTest, OnlyRequestsOfOneKindShareABatch) {
  const std::vector<Waiting> waiting = {{5, kNow, 1}, {5, kNow, 2}, {5, kNow, 1}, {5, kNow, 2}};
  EXPECT_EQ(NextGroup(waiting, Limits(4, 0), kNow).members, (Indices{0, 2}));
}

TEST(GroupingTest, ABatchIsSoughtAmongTheFirstInTurnAlone) {
  for (const int max_batch : {2, 700}) {
    const GroupingLimits limits = Limits(max_batch, 0);
    std::vector<Waiting> waiting;
    for (int length = 1; waiting.size() < GroupingHorizon(limits); ++length) {
      waiting.push_back({length, kLater});
    }
    EXPECT_GE(waiting.size(), static_cast<std::size_t>(max_batch));
    waiting.push_back({5000, kNow});
    EXPECT_TRUE(NextGroup(waiting, limits, kNow).members.empty());
    EXPECT_EQ(NextGroup(waiting, limits, kNow).due, kLater);
    EXPECT_EQ(NextGroup(std::span(waiting).subspan(1), limits, kNow).members.size(), 1U);
  }
}

/// Any batch that may run keeps every bound, whoever waits.
TEST(GroupingTest, RandomQueuesKeepEveryBoundAndAreServedToTheLast) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const auto draw = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    const GroupingLimits limits = Limits(draw(1, 9), draw(0, 90) / 100.0, draw(1, 400));
    std::vector<Waiting> waiting;
    for (int count = draw(1, 40); count > 0; --count) {
      waiting.push_back({draw(1, 200), kNow + milliseconds(draw(0, 10)), draw(0, 2)});
    }
    Clock::time_point now = kNow;
    while (!waiting.empty()) {
      const Grouping grouping = NextGroup(waiting, limits, now);
      if (grouping.members.empty()) {
        ASSERT_GT(grouping.due, now);
        ASSERT_LE(grouping.due, kNow + milliseconds(10));
        for (const Waiting& one : waiting) ASSERT_GT(one.due, now) << "a due request was held";
        now = grouping.due;
        continue;
      }
      const Indices& members = grouping.members;
      ASSERT_TRUE(std::is_sorted(members.begin(), members.end()));
      ASSERT_EQ(std::adjacent_find(members.begin(), members.end()), members.end());
      ASSERT_LE(static_cast<int>(members.size()), limits.max_batch);
      int longest = 0;
      std::int64_t tokens = 0;
      for (const std::size_t member : members) {
        ASSERT_EQ(waiting.at(member).kind, waiting.at(members.front()).kind);
        longest = std::max(longest, waiting.at(member).length);
        tokens += waiting.at(member).length;
      }
      const int count = static_cast<int>(members.size());
      ASSERT_LE(PaddingShare(tokens, longest, count), limits.max_padding + 1e-12);
      if (count > 1) {
        ASSERT_LE(longest * count, limits.max_positions);
      }
      for (auto member = members.rbegin(); member != members.rend(); ++member) {
        waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(*member));
      }
    }
  }
}

}  // namespace
}  // namespace llmrouter
