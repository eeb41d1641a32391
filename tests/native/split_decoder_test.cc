#include "llmrouter/split_decoder.h"

#include <gtest/gtest.h>

#include <array>

#include "fake_decoder.h"

namespace llmrouter {
namespace {

constexpr int kVocabulary = 16;

class SplitDecoderTest : public testing::Test {
 protected:
  /// The token that the logits of a segment's last position call for.
  static TokenId Best(const Segment& segment) {
    const auto last = segment.logits.last(kVocabulary);
    return static_cast<TokenId>(std::ranges::max_element(last) - last.begin());
  }

  FakeDecoder decoder_{DecoderLimits{4, 64, kVocabulary}};
};

TEST_F(SplitDecoderTest, PiecesOfPromptsAndDecodedTokensGetTheirOwnLogits) {
  decoder_.next = [](const auto& history) { return history.front(); };
  const std::array<TokenId, 3> first = {3, 1, 1};
  const std::array<TokenId, 2> second = {5, 1};
  std::array<Segment, 2> prompts = {{{0, first, 0}, {2, second, 0}}};
  decoder_.Run(prompts);
  EXPECT_EQ(Best(prompts[0]), 3);
  EXPECT_EQ(Best(prompts[1]), 5);

  const std::array<TokenId, 4> third = {7, 1, 1, 1};
  const std::array<TokenId, 1> one = {9};
  std::array<Segment, 3> mixed = {{{1, third, 0}, {0, one, 3}, {2, one, 2}}};
  decoder_.Run(mixed);
  EXPECT_EQ(Best(mixed[0]), 7);
  EXPECT_EQ(Best(mixed[1]), 3);
  EXPECT_EQ(Best(mixed[2]), 5);
}

TEST_F(SplitDecoderTest, ARowInBetweenIsLeftAsItWasUpToItsEnd) {
  const std::array<TokenId, 3> prompt = {3, 4, 5};
  std::array<Segment, 3> prompts = {{{0, prompt, 0}, {1, prompt, 0}, {2, prompt, 0}}};
  decoder_.Run(prompts);
  const std::array<TokenId, 1> one = {9};
  std::array<Segment, 1> decoded = {{{2, one, 3}}};
  decoder_.Run(decoded);
  std::array<TokenId, 3> kept = {};
  decoder_.Save(1, 0, 3, reinterpret_cast<std::byte*>(kept.data()));
  EXPECT_EQ(kept, prompt);
}

TEST_F(SplitDecoderTest, NothingIsCopiedOfLogitsNobodyWants) {
  const std::array<TokenId, 3> prompt = {3, 4, 5};
  std::array<Segment, 1> segment = {{{0, prompt, 0, LogitsOf::kNone}}};
  decoder_.Run(segment);
  EXPECT_TRUE(segment[0].logits.empty());
  EXPECT_FALSE(segment[0].failure);
}

TEST_F(SplitDecoderTest, EveryPositionHasItsLogitsWhereTheyAreWanted) {
  decoder_.next = [](const auto& history) { return history.back(); };
  const std::array<TokenId, 3> tokens = {3, 4, 5};
  std::array<Segment, 2> segments = {
      {{0, tokens, 0, LogitsOf::kEvery}, {1, tokens, 0, LogitsOf::kEvery}}};
  decoder_.Run(segments);
  for (const Segment& segment : segments) {
    ASSERT_EQ(segment.logits.size(), 3U * kVocabulary);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(segment.logits[i * kVocabulary + 3 + i], 4.0F);
  }
}

TEST_F(SplitDecoderTest, AFailingPromptFailsAloneAndAFailingStepAllItsRows) {
  decoder_.fail_prefill = [](auto tokens) { return tokens[0] == 5; };
  const std::array<TokenId, 2> good = {3, 1};
  const std::array<TokenId, 2> bad = {5, 1};
  std::array<Segment, 2> prompts = {{{0, good, 0}, {1, bad, 0}}};
  decoder_.Run(prompts);
  EXPECT_FALSE(prompts[0].failure);
  EXPECT_EQ(prompts[1].failure->message, "prefill broke");
  decoder_.fail_next_decode = true;
  const std::array<TokenId, 1> one = {9};
  std::array<Segment, 3> mixed = {{{0, one, 2}, {1, good, 0}, {2, one, 0}}};
  decoder_.Run(mixed);
  EXPECT_TRUE(mixed[0].failure && mixed[2].failure);
  EXPECT_FALSE(mixed[1].failure);
}

}  // namespace
}  // namespace llmrouter
