// Whatever comes, leaves, breaks, is held or gives way: every answer ends once and says what it
// says alone, nobody is passed by those whose turn is later, and no slot is lost.

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "scheduler_fixture.h"

namespace llmrouter {
namespace {

using Random = std::mt19937;

class SchedulerPropertiesTest : public SchedulerTest {
 protected:
  static constexpr int kAsks = 60;

  Request RandomAsk(int slots) {
    Request ask;
    // Few beginnings, so that prompts share prefixes.
    ask.prompt.assign(random_() % 3 * 33, static_cast<TokenId>(random_() % 2));
    for (std::size_t more = 1 + random_() % 40; more > 0; --more) {
      ask.prompt.push_back(static_cast<TokenId>(random_() % kVocabulary));
    }
    ask.max_tokens = 1 + static_cast<int>(random_() % 40);
    ask.answers = random_() % 4 == 0 ? std::min(slots, 2 + static_cast<int>(random_() % 2)) : 1;
    ask.priority = static_cast<Priority>(random_() % 3);
    ask.sampling.temperature = random_() % 2 == 0 ? 0 : 1.5F;
    ask.sampling.seed = random_();
    return ask;
  }

  /// What each answer to a request says when nobody shares the engine.
  void AnswerAlone() {
    alone_.clear();
    Start(3);
    for (const Request& ask : asks_) {
      const RequestId id = Add(ask);
      RunOut();
      alone_.push_back(AnswersOf(id, ask.answers));
    }
  }

  void Join() {
    if (ids_.size() == asks_.size()) return;
    Request ask = asks_[ids_.size()];
    if (random_() % 8 == 0) ask.deadline = now_ + std::chrono::milliseconds(random_() % 400);
    submitted_[next_id_] = now_;
    ids_.push_back(Add(std::move(ask)));
  }

  /// One of the last that came, who are likeliest to be there.
  RequestId Anyone() {
    return ids_[ids_.size() - 1 - random_() % std::min<std::size_t>(9, ids_.size())];
  }

  void Disturb() {
    if (ids_.empty()) return;
    if (random_() % 15 == 0) Cancel(Anyone());
    if (random_() % 6 == 0) HoldOne(Anyone());
    if (random_() % 4 == 0 && !held_.empty()) ResumeOne(*held_.begin());
    if (random_() % 200 == 0) decoder_->fail_next_decode = true;
    // Whoever reads an answer of several leaves once another has failed.
    for (const auto& [id, code] : failures_) Cancel(id);
  }

  void HoldOne(RequestId id) {
    const int before = scheduler_->held() + scheduler_->waiting();
    Hold(id);
    held_.insert(id);
    was_held_.insert(id);
    EXPECT_LE(scheduler_->held() + scheduler_->waiting(), std::max(before, most_waiting_));
  }

  void ResumeOne(RequestId id) {
    scheduler_->Resume(id);
    held_.erase(id);
  }

  void RunAll() {
    for (int step = 0; ids_.size() < asks_.size() || !scheduler_->idle() || scheduler_->held() > 0;
         ++step) {
      ASSERT_LT(step, 10'000) << "it never ends";
      for (auto joining = random_() % 3; joining > 0; --joining) Join();
      if (ids_.size() < asks_.size() || random_() % 2 == 0) Disturb();
      const bool last = ids_.size() == asks_.size() && scheduler_->idle();
      while (last && !held_.empty()) ResumeOne(*held_.begin());
      Step();
    }
  }

  Clock::time_point TurnOfRequest(RequestId id) {
    return TurnOf(submitted_[id], asks_[id - ids_[0]].priority, kAgeing);
  }

  bool IsOver(RequestId id) const { return std::ranges::count(ended_, id) > 0; }

  /// Nobody who waits has an earlier turn: so whoever passes him came at most two classes' ageing
  /// later, and the rest of his wait is that of those before him.
  void ExpectItsTurn(RequestId id) {
    for (const RequestId other : ids_) {
      if (begun_.count(other) > 0 || IsOver(other) || was_held_.count(other) > 0) continue;
      EXPECT_LE(TurnOfRequest(id), TurnOfRequest(other)) << id << " passed " << other;
      EXPECT_LE(submitted_[id], submitted_[other] + 2 * kAgeing);
    }
  }

  void ExpectEndedOnce(std::size_t index) {
    const RequestId id = ids_[index];
    const int answers = asks_[index].answers;
    for (int answer = 0; answer < answers; ++answer) {
      const std::vector<TokenId>& said = heard_[{id, answer}];
      const std::vector<TokenId>& whole = alone_[index][answer];
      const bool over = reasons_.count({id, answer}) > 0;
      EXPECT_TRUE(over || failures_.count(id) > 0) << "request " << index << " never ended";
      if (over && reasons_[{id, answer}] != FinishReason::kCancelled) {
        EXPECT_EQ(said, whole) << "request " << index << ", answer " << answer;
        ++complete_;
      } else {
        ASSERT_LE(said.size(), whole.size());
        EXPECT_TRUE(std::equal(said.begin(), said.end(), whole.begin()));
      }
    }
  }

  Random random_;
  std::vector<Request> asks_;
  std::vector<std::vector<std::vector<TokenId>>> alone_;
  std::vector<RequestId> ids_;
  std::map<RequestId, Clock::time_point> submitted_;
  std::set<RequestId> held_, was_held_;
  int complete_ = 0;
};

TEST_F(SchedulerPropertiesTest, WhateverComesEveryAnswerEndsOnceAndSaysWhatItSaysAlone) {
  std::uint64_t preemptions = 0;
  std::uint64_t reused = 0;
  std::size_t failures = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    random_.seed(seed);
    alike_ = random_() % 2 == 0;
    most_waiting_ = random_() % 3 == 0 ? 2 : 256;
    const int slots = 1 + static_cast<int>(random_() % 5);
    asks_.clear();
    for (int i = 0; i < kAsks; ++i) asks_.push_back(RandomAsk(slots));
    on_begin_ = nullptr;
    AnswerAlone();

    // The largest request takes 3 x 146 positions.
    Start(slots, random_() % 2 == 0 ? 200 : 1 << 20, random_() % 2 == 0 ? 0 : 450);
    const bool breaks = random_() % 3 == 0;
    decoder_->fail_copy = [&, breaks](auto) { return breaks && random_() % 100 == 0; };
    on_begin_ = [this](RequestId id) { ExpectItsTurn(id); };
    ids_.clear();
    held_.clear();
    was_held_.clear();
    RunAll();
    for (std::size_t i = 0; i < ids_.size(); ++i) ExpectEndedOnce(i);
    EXPECT_EQ(scheduler_->parked_bytes(), 0U);
    EXPECT_EQ(scheduler_->batch().free_slots(), slots);
    preemptions += scheduler_->preemptions();
    reused += scheduler_->batch().reused_tokens();
    failures += failures_.size();
    if (HasFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(preemptions, 100U);
  EXPECT_GT(reused, 10'000U);
  EXPECT_GT(failures, 20U);
  EXPECT_GT(complete_, 2500);
}

}  // namespace
}  // namespace llmrouter
