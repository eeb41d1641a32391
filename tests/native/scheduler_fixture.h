#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "fake_decoder.h"
#include "llmrouter/admission.h"
#include "llmrouter/scheduler.h"

namespace llmrouter {

inline constexpr int kVocabulary = 64;

/// A scheduler stepped by hand, under a clock of the test's own: 10 ms a step.
class SchedulerTest : public testing::Test {
 protected:
  /// What a class of priority is worth: ten steps.
  static constexpr std::chrono::milliseconds kAgeing{100};

  void Start(int slots, std::size_t parked_bytes = 1 << 20, std::int64_t positions = 0) {
    auto decoder = std::make_unique<FakeDecoder>(DecoderLimits{slots, 256, kVocabulary});
    decoder_ = decoder.get();
    decoder_->alike = alike_;
    const Vocabulary vocabulary(std::vector<std::string>(kVocabulary, "x"), {});
    SchedulerOptions options;
    options.batch = {.prefill_chunk = 16, .prefix_bytes = 4096};
    options.parked_bytes = parked_bytes;
    options.positions = positions_ = positions;
    options.ageing = kAgeing;
    options.max_waiting = most_waiting_;
    scheduler_ = std::make_unique<Scheduler>(std::move(decoder), vocabulary, options);
    ended_.clear();
    tokens_.clear();
    reasons_.clear();
    heard_.clear();
    failures_.clear();
    begun_.clear();
  }

  RequestId Add(Request request) {
    request.trace = true;
    const RequestId id = next_id_++;
    const int limit = request.max_tokens;
    scheduler_->Add(std::make_unique<Sequence>(Submission{id, std::move(request), now_}, limit));
    return id;
  }

  RequestId Add(Priority priority, std::vector<TokenId> prompt = {1, 2, 3}, int max_tokens = 4,
                std::optional<Clock::time_point> deadline = std::nullopt) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.priority = priority;
    request.deadline = deadline;
    return Add(std::move(request));
  }

  static Request Several(int answers, Priority priority, int max_tokens) {
    Request request;
    request.prompt = {5, 6};
    request.max_tokens = max_tokens;
    request.answers = answers;
    request.priority = priority;
    request.sampling.temperature = 1.5F;
    request.sampling.seed = 3;
    return request;
  }

  void Take(const std::vector<Event>& events) {
    for (const Event& event : events) {
      if (const auto* finished = std::get_if<Finished>(&event)) {
        const std::pair name(finished->id, finished->answer);
        EXPECT_EQ(tokens_.count(name), 0U) << "two ends";
        ended_.push_back(finished->id);
        tokens_[name] = finished->tokens;
        reasons_[name] = finished->reason;
      } else if (const auto* failed = std::get_if<Failed>(&event)) {
        ended_.push_back(failed->id);
        failures_[failed->id] = failed->code;
      } else {
        const auto& delta = std::get<TextDelta>(event);
        EXPECT_EQ(tokens_.count({delta.id, delta.answer}), 0U) << "text after the end";
        auto& heard = heard_[{delta.id, delta.answer}];
        heard.insert(heard.end(), delta.ids.begin(), delta.ids.end());
      }
    }
  }

  void Step() {
    std::vector<Event> events;
    scheduler_->Arrange(now_, &events);
    Take(std::exchange(events, {}));
    NoteBegun();
    scheduler_->Step(&events);
    Take(events);
    if (positions_ > 0) {
      EXPECT_LE(scheduler_->batch().reserved(), positions_);
    }
    now_ += std::chrono::milliseconds(10);
  }

  void NoteBegun() {
    std::vector<RequestId> news;
    for (const RequestId id : scheduler_->batch().RunningIds()) {
      if (begun_.emplace(id, now_).second) news.push_back(id);
    }
    // Those who begin in one step do so in any order.
    for (const RequestId id : news) {
      if (on_begin_) on_begin_(id);
    }
  }

  void Cancel(RequestId id) {
    std::vector<Event> events;
    scheduler_->Cancel(id, &events);
    Take(events);
  }

  void Hold(RequestId id) {
    std::vector<Event> events;
    scheduler_->Hold(id, &events);
    Take(events);
  }

  void RunOut() {
    for (int step = 0; !scheduler_->idle(); ++step) {
      ASSERT_LT(step, 100'000) << "it never ends";
      Step();
    }
  }

  std::vector<std::vector<TokenId>> AnswersOf(RequestId id, int answers) {
    std::vector<std::vector<TokenId>> said;
    for (int answer = 0; answer < answers; ++answer) said.push_back(tokens_[{id, answer}]);
    return said;
  }

  FakeDecoder* decoder_ = nullptr;
  bool alike_ = false;
  int most_waiting_ = 256;
  std::int64_t positions_ = 0;
  std::unique_ptr<Scheduler> scheduler_;
  Clock::time_point now_ = Clock::now();
  RequestId next_id_ = 1;
  /// Ids of the answers that ended, in order, and of requests that failed.
  std::vector<RequestId> ended_;
  /// By request and answer.
  std::map<std::pair<RequestId, int>, std::vector<TokenId>> tokens_;
  std::map<std::pair<RequestId, int>, FinishReason> reasons_;
  /// The tokens of its deltas.
  std::map<std::pair<RequestId, int>, std::vector<TokenId>> heard_;
  std::map<RequestId, ErrorCode> failures_;
  /// When a request first had a slot.
  std::map<RequestId, Clock::time_point> begun_;
  std::function<void(RequestId id)> on_begin_;
};

}  // namespace llmrouter
