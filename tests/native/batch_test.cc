#include <gtest/gtest.h>

#include "batch_fixture.h"

namespace llmrouter {
namespace {

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

TEST_F(BatchTest, TheNextTurnOfAChatIsComputedFromTheAnswerOnWhereThatRoundsAlike) {
  const std::vector<TokenId> first = Prompt(20, 4);
  for (const bool alike : {false, true}) {
    prefix_ = 1 << 20;
    alike_ = alike;
    Start(2, 1000, 200);
    const RequestId asked = Admit(first, 80);
    RunOut();
    std::vector<TokenId> second = first;
    const std::vector<TokenId> said = Tokens(asked);
    second.insert(second.end(), said.begin(), said.end());
    second.insert(second.end(), {1, 2, 3});
    const RequestId next = Admit(second);
    RunOut();
    // Of 100 tokens 99 were computed: three blocks of 32.
    EXPECT_EQ(outcomes_[next].finished.at(0).cached_prompt_tokens, alike ? 96 : 0);
    const auto answer = Tokens(next);
    Start(1, 1000, 200);
    const RequestId alone = Admit(second);
    RunOut();
    EXPECT_EQ(answer, Tokens(alone));
  }
}

TEST_F(BatchTest, WhatCannotBeParkedIsFoundAgainWhereThatRoundsAlike) {
  prefix_ = 1 << 20;
  alike_ = true;
  const auto alone = Alone(Prompt(20, 2), 30);
  Start(1, 1000);
  const RequestId id = Admit(Prompt(20, 2), 30);
  for (int step = 0; step < 15; ++step) Step();
  auto parked = Park(0, 0);
  decoder_->calls.clear();
  Admit(std::move(parked));
  RunOut();
  EXPECT_EQ(Tokens(id), alone);
  EXPECT_EQ(decoder_->calls[0].position, 32);
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
      auto parked = Park(1, memory);
      ASSERT_EQ(parked->id(), id);
      for (int step = 0; step < 3; ++step) Step();
      Admit(std::move(parked));
      RunOut();
      EXPECT_EQ(Tokens(id), alone) << "parked at step " << park_at;
      EXPECT_EQ(outcomes_[id].text.size(), alone.size());
    }
  }
}

}  // namespace
}  // namespace llmrouter
