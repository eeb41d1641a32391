#include "llmrouter/batch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "fake_decoder.h"

namespace llmrouter {
namespace {

constexpr int kVocabulary = 64;
constexpr TokenId kEnd = 63;

/// Token i is the letter 'A' + i; the end token has no text.
Vocabulary Letters() {
  std::vector<std::string> tokens;
  for (int i = 0; i < kVocabulary - 1; ++i) tokens.emplace_back(1, static_cast<char>('A' + i % 26));
  return {tokens, {kEnd}};
}

struct Outcome {
  std::string text;
  int delta_tokens = 0;
  std::vector<SampledLogprob> logprobs;
  std::vector<Finished> finished;
  std::vector<Failed> failed;
};

/// A batch stepped by hand, with what it has said about each request.
class BatchTest : public testing::Test {
 protected:
  void Start(int slots, int chunk = 8, int context = 64) {
    auto decoder = std::make_unique<FakeDecoder>(DecoderLimits{slots, context, kVocabulary});
    decoder_ = decoder.get();
    batch_ = std::make_unique<Batch>(std::move(decoder), Letters(), BatchOptions{chunk, prefix_});
    outcomes_.clear();
  }

  /// The texts of a request's answers are told apart by its id and theirs.
  static RequestId Key(RequestId id, int answer) { return id + 1000 * answer; }

  RequestId Admit(Request request) {
    request.trace = true;
    const RequestId id = next_id_++;
    const int limit = std::min(request.max_tokens,
                               batch_->limits().context - static_cast<int>(request.prompt.size()));
    batch_->Admit(
        std::make_unique<Sequence>(Submission{id, std::move(request), Clock::now()}, limit));
    return id;
  }

  RequestId Admit(std::vector<TokenId> prompt, int max_tokens = 10, SamplingOptions sampling = {0},
                  std::vector<std::string> stop = {}) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling = sampling;
    request.stop = std::move(stop);
    return Admit(std::move(request));
  }

  void Step() {
    std::vector<Event> events;
    batch_->Step(&events);
    Take(events);
  }

  void Take(const std::vector<Event>& events) {
    for (const Event& event : events) {
      if (const auto* delta = std::get_if<TextDelta>(&event)) {
        EXPECT_FALSE(delta->text.empty() && delta->logprobs.empty());
        Outcome& outcome = outcomes_[Key(delta->id, delta->answer)];
        outcome.text += delta->text;
        outcome.delta_tokens += delta->tokens;
        outcome.logprobs.insert(outcome.logprobs.end(), delta->logprobs.begin(),
                                delta->logprobs.end());
      } else if (const auto* finished = std::get_if<Finished>(&event)) {
        outcomes_[Key(finished->id, finished->answer)].finished.push_back(*finished);
      } else {
        const auto& failed = std::get<Failed>(event);
        outcomes_[failed.id].failed.push_back(failed);
      }
    }
  }

  void RunOut() {
    while (batch_->running() > 0) Step();
  }

  std::vector<TokenId> Tokens(RequestId id) { return outcomes_[id].finished.at(0).tokens; }

  /// What a request answers when nobody shares the batch.
  std::vector<TokenId> Alone(const std::vector<TokenId>& prompt, int max_tokens = 10,
                             SamplingOptions sampling = {0}) {
    Start(1, 1000);
    const RequestId id = Admit(prompt, max_tokens, sampling);
    RunOut();
    return Tokens(id);
  }

  FakeDecoder* decoder_ = nullptr;
  std::unique_ptr<Batch> batch_;
  std::map<RequestId, Outcome> outcomes_;
  RequestId next_id_ = 1;
  std::size_t prefix_ = 0;
};

std::vector<TokenId> Prompt(int length, int seed) {
  std::vector<TokenId> prompt(length);
  for (int i = 0; i < length; ++i) prompt[i] = (i * 7 + seed * 13) % (kVocabulary - 1);
  return prompt;
}

TEST_F(BatchTest, ASequenceEndsAtItsMaxTokens) {
  Start(2);
  const RequestId id = Admit(Prompt(5, 1), 4);
  decoder_->next = [](const auto& history) { return static_cast<TokenId>(history.size() % 5); };
  RunOut();
  ASSERT_EQ(outcomes_[id].finished.size(), 1U);
  EXPECT_EQ(outcomes_[id].finished[0].reason, FinishReason::kLength);
  EXPECT_EQ(outcomes_[id].finished[0].completion_tokens, 4);
  EXPECT_EQ(outcomes_[id].finished[0].prompt_tokens, 5);
  EXPECT_EQ(outcomes_[id].text, "ABCD");
  EXPECT_EQ(outcomes_[id].delta_tokens, 4);
}

TEST_F(BatchTest, AnEndTokenEndsASequenceWithoutText) {
  Start(2);
  const RequestId id = Admit(Prompt(5, 1));
  decoder_->next = [](const auto& history) { return history.size() == 7 ? kEnd : 1; };
  RunOut();
  EXPECT_EQ(outcomes_[id].finished.at(0).reason, FinishReason::kStop);
  EXPECT_EQ(outcomes_[id].finished[0].completion_tokens, 3);
  EXPECT_EQ(outcomes_[id].text, "BB");
}

TEST_F(BatchTest, TheContextEndsAnAnswerAndNoPositionBeyondItIsWritten) {
  Start(2, 8, 16);
  decoder_->next = [](const auto&) { return TokenId{1}; };
  const RequestId full = Admit(Prompt(15, 1), 100);
  const RequestId id = Admit(Prompt(10, 1), 100);
  RunOut();
  EXPECT_EQ(outcomes_[full].finished.at(0).completion_tokens, 1);
  EXPECT_EQ(outcomes_[id].finished.at(0).completion_tokens, 6);
  EXPECT_EQ(outcomes_[id].finished[0].reason, FinishReason::kLength);
  EXPECT_LE(decoder_->highest_position, 16);
}

TEST_F(BatchTest, AStopStringSplitOverTokensEndsTheSequence) {
  Start(2);
  decoder_->next = [](const auto& history) { return static_cast<TokenId>(history.size() % 26); };
  const RequestId id = Admit(Prompt(3, 1), 20, {0}, {"GH"});
  RunOut();
  EXPECT_EQ(outcomes_[id].text, "DEF");
  EXPECT_EQ(outcomes_[id].finished.at(0).stop, "GH");
  EXPECT_EQ(outcomes_[id].finished[0].reason, FinishReason::kStop);
}

TEST_F(BatchTest, SequencesThatJoinAndLeaveAtAnyStepAnswerAsIfAlone) {
  std::map<RequestId, std::vector<TokenId>> expected;
  std::vector<std::pair<std::vector<TokenId>, int>> asks;
  for (int i = 0; i < 40; ++i) asks.emplace_back(Prompt(1 + i * 5 % 37, i), 1 + i * 3 % 17);
  std::vector<std::vector<TokenId>> alone;
  for (const auto& [prompt, tokens] : asks) alone.push_back(Alone(prompt, tokens));

  for (const int chunk : {2, 3, 8, 64}) {
    Start(5, chunk);
    std::vector<RequestId> ids;
    std::size_t next = 0;
    for (int step = 0; next < asks.size() || batch_->running() > 0; ++step) {
      // Uneven joining: sometimes one, sometimes as many as fit, sometimes nobody.
      for (int joining = step % 4; joining > 0 && next < asks.size(); --joining) {
        if (batch_->free_slots() == 0) break;
        ids.push_back(Admit(asks[next].first, asks[next].second));
        ++next;
      }
      Step();
    }
    for (std::size_t i = 0; i < asks.size(); ++i) {
      EXPECT_EQ(Tokens(ids[i]), alone[i]) << "request " << i << ", chunks of " << chunk;
    }
    EXPECT_FALSE(decoder_->moves.empty()) << "the test never moved a row";
  }
}

TEST_F(BatchTest, SeededSamplingDoesNotDependOnCompany) {
  const SamplingOptions sampling{.temperature = 1.5F, .top_k = 30, .top_p = 0.95F, .seed = 11};
  const auto alone = Alone(Prompt(9, 3), 20, sampling);
  Start(4, 4);
  Admit(Prompt(20, 1), 30, {.temperature = 1.0F, .seed = 1});
  Step();
  Step();
  const RequestId id = Admit(Prompt(9, 3), 20, sampling);
  Admit(Prompt(2, 5), 3);
  RunOut();
  EXPECT_EQ(Tokens(id), alone);
}

TEST_F(BatchTest, RunningStreamsAdvanceOneTokenPerStepWhileAPromptIsPrefilled) {
  Start(2, 4);
  decoder_->next = [](const auto&) { return TokenId{1}; };
  const RequestId stream = Admit(Prompt(2, 1), 50);
  Step();
  Admit(Prompt(40, 2), 1);
  for (int step = 0; step < 10; ++step) {
    const std::size_t before = outcomes_[stream].text.size();
    Step();
    EXPECT_EQ(outcomes_[stream].text.size(), before + 1);
  }
}

TEST_F(BatchTest, AnEmptyRowIsNeverDecoded) {
  Start(8, 64);
  decoder_->next = [](const auto&) { return TokenId{1}; };
  for (int i = 0; i < 8; ++i) Admit(Prompt(3, i), i == 7 ? 30 : i + 1);
  while (batch_->running() > 0) {
    const int running = batch_->running();
    Step();
    if (!decoder_->calls.back().prefill) {
      EXPECT_LE(decoder_->calls.back().row_or_rows, running);
    }
  }
  EXPECT_EQ(decoder_->calls.back().row_or_rows, 1);
}

TEST_F(BatchTest, ALeavingRowsMemoryIsGivenBack) {
  Start(3, 64);
  decoder_->next = [](const auto&) { return TokenId{1}; };
  for (int i = 0; i < 3; ++i) Admit(Prompt(3, i), 2 + i);
  RunOut();
  EXPECT_EQ(decoder_->released, (std::vector<int>{2, 1, 0}));
  EXPECT_EQ(decoder_->moves, (std::vector<std::pair<int, int>>{{2, 0}}));
}

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
    EXPECT_TRUE(batch_->Cancel(cancelled, &events));
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
  EXPECT_FALSE(batch_->Cancel(77, &events));
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

TEST_F(BatchTest, APromptThatBeginsAsAnotherIsComputedFromThereOn) {
  std::vector<TokenId> longer = Prompt(40, 4);
  std::vector<TokenId> shorter(longer.begin(), longer.begin() + 33);
  shorter.push_back(1);
  shorter.push_back(2);
  const auto alone = Alone(shorter);
  prefix_ = 1 << 20;
  Start(2, 1000);
  Admit(longer);
  RunOut();
  decoder_->calls.clear();
  const RequestId id = Admit(shorter);
  RunOut();
  EXPECT_EQ(Tokens(id), alone);
  EXPECT_EQ(decoder_->calls[0].position, 32);
  EXPECT_EQ(decoder_->calls[0].tokens, 3);
  EXPECT_EQ(outcomes_[id].finished.at(0).cached_prompt_tokens, 32);
}

TEST_F(BatchTest, ASequenceThatWasParkedGoesOnWhereItWas) {
  for (const std::size_t memory : {std::size_t{0}, std::size_t{1} << 20}) {
    for (int park_at = 1; park_at < 14; ++park_at) {
      const auto alone = Alone(Prompt(20, 2), 9);
      Start(3, 6);
      Admit(Prompt(3, 1), 40);
      const RequestId id = Admit(Prompt(20, 2), 9);
      Admit(Prompt(4, 3), 40);
      for (int step = 0; step < park_at; ++step) Step();
      if (!outcomes_[id].finished.empty()) continue;
      auto parked = batch_->Park(1, memory);
      ASSERT_EQ(parked->id(), id);
      for (int step = 0; step < 3; ++step) Step();
      batch_->Admit(std::move(parked));
      RunOut();
      EXPECT_EQ(Tokens(id), alone) << "parked at step " << park_at;
      EXPECT_EQ(outcomes_[id].text.size(), alone.size());
    }
  }
}

TEST_F(BatchTest, TheTraceHoldsTheLogitsOfEverySampledToken) {
  Start(1);
  const RequestId id = Admit(Prompt(4, 1), 3);
  RunOut();
  const Finished& finished = outcomes_[id].finished.at(0);
  ASSERT_EQ(finished.logits.size(), finished.tokens.size() * kVocabulary);
  for (std::size_t i = 0; i < finished.tokens.size(); ++i) {
    EXPECT_EQ(finished.logits[i * kVocabulary + finished.tokens[i]], 4.0F);
  }
}

Request Several(int answers, int prompt, const SamplingOptions& sampling, int max_tokens = 12) {
  Request request;
  request.prompt = Prompt(prompt, 4);
  request.answers = answers;
  request.sampling = sampling;
  request.max_tokens = max_tokens;
  return request;
}

TEST_F(BatchTest, SeveralAnswersComputeTheirPromptOnceAndTheFirstIsThatOfASingleOne) {
  const SamplingOptions sampling{.temperature = 1.5F, .seed = 11};
  const auto alone = Alone(Prompt(20, 4), 12, sampling);
  Start(6, 8);
  const RequestId company = Admit(Prompt(9, 1), 30);
  const RequestId id = Admit(Several(4, 20, sampling));
  RunOut();
  std::size_t prefilled = 0;
  for (const auto& call : decoder_->calls) prefilled += call.prefill ? call.tokens : 0;
  EXPECT_EQ(prefilled, 29U);
  EXPECT_EQ(batch_->prompt_tokens(), 29U);
  EXPECT_EQ(Tokens(id), alone);
  EXPECT_EQ(outcomes_[company].finished.size(), 1U);
  std::map<std::vector<TokenId>, int> different;
  for (int answer = 0; answer < 4; ++answer) {
    ASSERT_EQ(outcomes_[Key(id, answer)].finished.size(), 1U) << answer;
    EXPECT_EQ(outcomes_[Key(id, answer)].finished[0].prompt_tokens, 20);
    ++different[Tokens(Key(id, answer))];
  }
  EXPECT_EQ(different.size(), 4U);
}

TEST_F(BatchTest, EachOfSeveralAnswersIsTheSameAloneAndInCompany) {
  const SamplingOptions sampling{.temperature = 1.5F, .seed = 3, .frequency_penalty = 0.5F};
  Start(4, 1000);
  const RequestId alone = Admit(Several(4, 20, sampling));
  RunOut();
  std::vector<std::vector<TokenId>> expected;
  for (int answer = 0; answer < 4; ++answer) expected.push_back(Tokens(Key(alone, answer)));
  for (const int chunk : {2, 8}) {
    Start(7, chunk);
    Admit(Prompt(3, 1), 4);
    Admit(Prompt(12, 2), 9);
    Step();
    const RequestId id = Admit(Several(4, 20, sampling));
    Step();
    Admit(Prompt(30, 5), 20);
    RunOut();
    for (int answer = 0; answer < 4; ++answer) EXPECT_EQ(Tokens(Key(id, answer)), expected[answer]);
  }
}

TEST_F(BatchTest, GreedyAnswersToOnePromptAreEqual) {
  const auto alone = Alone(Prompt(20, 4), 12);
  Start(3, 8);
  const RequestId id = Admit(Several(3, 20, {.temperature = 0}));
  RunOut();
  for (int answer = 0; answer < 3; ++answer) EXPECT_EQ(Tokens(Key(id, answer)), alone);
}

TEST_F(BatchTest, SlotsArePromisedToAnswersWhosePromptIsBeingComputed) {
  Start(5, 4);
  Admit(Several(3, 20, {.temperature = 0}));
  EXPECT_EQ(batch_->running(), 1);
  EXPECT_EQ(batch_->free_slots(), 2);
  Step();
  EXPECT_EQ(batch_->free_slots(), 2);
  while (batch_->running() == 1) Step();
  EXPECT_EQ(batch_->running(), 3);
  EXPECT_EQ(batch_->free_slots(), 2);
  RunOut();
  EXPECT_EQ(batch_->free_slots(), 5);
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
    EXPECT_TRUE(batch_->Cancel(id, &events));
    EXPECT_FALSE(batch_->Cancel(id, &events));
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

TEST_F(BatchTest, NothingEndsAnAnswerBeforeItsMinTokens) {
  Start(2);
  decoder_->next = [](const auto& history) { return history.size() < 9 ? kEnd : TokenId{1}; };
  Request request = Several(1, 3, {.temperature = 0}, 20);
  request.min_tokens = 4;
  const RequestId id = Admit(request);
  RunOut();
  // The end token is the likeliest from the first on, and taken as soon as it may be.
  EXPECT_EQ(Tokens(id), (std::vector<TokenId>{0, 0, 0, 0, kEnd}));

  Start(2);
  decoder_->next = [](const auto& history) { return static_cast<TokenId>(history.size() % 26); };
  request.stop = {"E", "H", "FGH"};
  request.min_tokens = 5;
  const RequestId stopped = Admit(request);
  RunOut();
  // D E F G are shown whatever they hold; a stop string must begin after them.
  EXPECT_EQ(outcomes_[stopped].text, "DEFG");
  EXPECT_EQ(outcomes_[stopped].finished.at(0).stop, "H");
}

TEST_F(BatchTest, EveryTokenIsToldWithItsLogProbabilityTheEndTokenToo) {
  Start(2);
  decoder_->next = [](const auto& history) { return history.size() == 7 ? kEnd : TokenId{2}; };
  Request request = Several(1, 5, {.temperature = 0, .logit_bias = {{2, 50.0F}}});
  request.sampling.logit_bias = {{2, 3.0F}};
  request.top_logprobs = 2;
  const RequestId id = Admit(request);
  RunOut();
  const std::vector<SampledLogprob>& told = outcomes_[id].logprobs;
  ASSERT_EQ(told.size(), 3U);
  EXPECT_EQ(outcomes_[id].delta_tokens, 3);
  const double total = std::exp(4.0) + kVocabulary - 1;
  for (const SampledLogprob& one : told) {
    EXPECT_NEAR(one.sampled.logprob, 4 - std::log(total), 1e-5);
    ASSERT_EQ(one.top.size(), 2U);
    EXPECT_EQ(one.top[0].token, one.sampled.token);
    EXPECT_NEAR(one.top[1].logprob, -std::log(total), 1e-5);
  }
  EXPECT_EQ(told[0].sampled.bytes, "C");
  EXPECT_EQ(told[2].sampled.token, kEnd);
  EXPECT_EQ(told[2].sampled.bytes, "");
}

TEST_F(BatchTest, PenaltiesCountPromptAndAnswerAsTheyGrow) {
  Start(2);
  decoder_->next = [](const auto&) { return TokenId{2}; };
  // The favourite leads by 4: by one occurrence of the prompt it still leads, by three of its own
  // it does not.
  const SamplingOptions sampling{
      .temperature = 0, .repetition_penalty = 1.1F, .frequency_penalty = 1.5F};
  Request request = Several(1, 1, sampling, 5);
  request.prompt = {2};
  const RequestId id = Admit(request);
  RunOut();
  EXPECT_EQ(Tokens(id), (std::vector<TokenId>{2, 2, 2, 0, 1}));
}

}  // namespace
}  // namespace llmrouter
