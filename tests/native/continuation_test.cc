#include <gtest/gtest.h>

#include <functional>

#include "batch_fixture.h"
#include "llmrouter/admission.h"

namespace llmrouter {
namespace {

/// An answer that another engine began: gone on with, it is the answer of one engine alone.
class ContinuationTest : public BatchTest {
 protected:
  Outcome Answer(Request request) {
    Start(3);
    if (next_) decoder_->next = next_;
    const RequestId id = Admit(std::move(request));
    RunOut();
    return outcomes_[id];
  }

  /// Breaks the answer off behind each of its deltas, and goes on from there.
  void ExpectTheSameFromEveryPlace(const Request& request) {
    const Outcome whole = Answer(request);
    ASSERT_GT(whole.places.size(), 1U);
    for (const auto& [text, ids] : whole.places) {
      if (ids >= static_cast<std::size_t>(request.max_tokens)) continue;
      Request rest = request;
      rest.answered.assign(whole.ids.begin(), whole.ids.begin() + static_cast<std::ptrdiff_t>(ids));
      const Outcome gone_on = Answer(rest);
      EXPECT_EQ(whole.text.substr(0, text) + gone_on.text, whole.text) << "after " << ids;
      const Finished& end = gone_on.finished.at(0);
      EXPECT_EQ(end.reason, whole.finished.at(0).reason);
      EXPECT_EQ(end.stop, whole.finished[0].stop);
      if (end.reason == FinishReason::kLength) {
        EXPECT_EQ(static_cast<int>(ids) + end.completion_tokens,
                  whole.finished[0].completion_tokens);
      }
    }
  }

  std::function<TokenId(const std::vector<TokenId>&)> next_;

  static Request Asked(SamplingOptions sampling = {0}) {
    Request request;
    request.prompt = Prompt(9, 4);
    request.sampling = std::move(sampling);
    request.max_tokens = 20;
    return request;
  }
};

TEST_F(ContinuationTest, AGreedyAnswerIsTheSame) { ExpectTheSameFromEveryPlace(Asked()); }

TEST_F(ContinuationTest, ADrawnAnswerIsTheSamePenaltiesAndAll) {
  SamplingOptions sampling{0.9F};
  sampling.seed = 7;
  sampling.repetition_penalty = 1.3F;
  sampling.presence_penalty = 0.4F;
  sampling.frequency_penalty = 0.7F;
  ExpectTheSameFromEveryPlace(Asked(sampling));
}

TEST_F(ContinuationTest, AStopStringIsFoundAcrossTheSeam) {
  next_ = [](const auto& history) { return static_cast<TokenId>(history.size() % 26); };
  const std::string text = Answer(Asked()).text;
  for (std::size_t length = 2; length < 6; ++length) {
    Request request = Asked();
    request.stop = {text.substr(10, length), "never"};
    ExpectTheSameFromEveryPlace(request);
    request.min_tokens = 12;
    ExpectTheSameFromEveryPlace(request);
  }
}

TEST_F(ContinuationTest, TextThatWasHeldBackIsDeliveredLater) {
  // "BA" begins the stop string, so that its "B" waits for what comes next.
  Request request = Asked();
  request.stop = {"BAX"};
  request.max_tokens = 6;
  const std::vector<TokenId> said = {2, 1, 0, 2, 1, 2};
  // Whoever computes a prompt by parts is asked for its beginnings, too.
  const auto next = [&](const auto& history) {
    return history.size() < 9 ? TokenId{0} : said.at(history.size() - 9);
  };
  Start(1);
  decoder_->next = next;
  const RequestId whole = Admit(request);
  RunOut();
  ASSERT_EQ(outcomes_[whole].text, "CBACBC");
  ASSERT_EQ(outcomes_[whole].places[1], (std::pair<std::size_t, std::size_t>(4, 4)));
  request.answered = {2, 1, 0, 2};
  Start(1);
  decoder_->next = next;
  const RequestId rest = Admit(request);
  RunOut();
  EXPECT_EQ(outcomes_[rest].text, "BC");
}

TEST_F(ContinuationTest, AnEndTokenIsNotAmongWhatWasAnswered) {
  Start(1);
  decoder_->next = [](const auto& history) { return history.size() == 11 ? kEnd : 1; };
  Request request = Asked();
  request.stop = {"BBBB"};
  const RequestId id = Admit(request);
  RunOut();
  EXPECT_EQ(outcomes_[id].text, "BB");
  EXPECT_EQ(outcomes_[id].delta_tokens, 3);
  EXPECT_EQ(outcomes_[id].ids, (std::vector<TokenId>{1, 1}));
}

TEST_F(ContinuationTest, WhatIsComputedAgainIsCountedAsNothingNew) {
  prefix_ = 1 << 20;
  Request request = Asked();
  request.prompt = Prompt(40, 2);
  request.max_tokens = 8;
  request.answered = {1, 2, 3};
  Start(1);
  const RequestId id = Admit(request);
  RunOut();
  const Finished& end = outcomes_[id].finished.at(0);
  EXPECT_EQ(end.completion_tokens, 5);
  EXPECT_EQ(end.prompt_tokens, 40);
  EXPECT_GE(end.timings.prefill, 0);
  EXPECT_EQ(batch_->completion_tokens(), 5U);
}

TEST_F(ContinuationTest, WhatCannotBeGoneOnWithIsRefused) {
  const AdmissionLimits limits{64, kVocabulary, 2};
  Request request = Asked();
  request.answered = {1, kVocabulary};
  EXPECT_THROW(CheckRequest(request, limits), Error);
  request.answered.assign(20, 1);
  EXPECT_THROW(CheckRequest(request, limits), Error);
  request.answered.resize(19);
  CheckRequest(request, limits);
  request.answers = 2;
  EXPECT_THROW(CheckRequest(request, limits), Error);
}

}  // namespace
}  // namespace llmrouter
