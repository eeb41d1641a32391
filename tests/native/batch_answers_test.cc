#include <gtest/gtest.h>

#include <cmath>

#include "batch_fixture.h"

namespace llmrouter {
namespace {

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
