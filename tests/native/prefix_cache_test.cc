#include "llmrouter/prefix_cache.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <span>
#include <vector>

namespace llmrouter {
namespace {

constexpr int kBlock = PrefixCache::kBlock;

std::vector<TokenId> Count(int length, int from = 0) {
  std::vector<TokenId> tokens(length);
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

/// What a block of these tests holds: the tokens themselves.
PrefixCache::Copy Tokens(const std::vector<TokenId>& prompt) {
  return [&prompt](int position, std::byte* out) {
    std::memcpy(out, prompt.data() + position, kBlock * sizeof(TokenId));
  };
}

TokenId FirstOf(const std::byte* block) {
  TokenId first = 0;
  std::memcpy(&first, block, sizeof(first));
  return first;
}

TEST(PrefixCacheTest, ABlockIsFoundByEveryPromptThatBeginsWithIt) {
  PrefixCache cache(sizeof(TokenId), 1 << 20);
  const auto first = Count(3 * kBlock + 5);
  cache.Insert(1, first, Tokens(first));
  EXPECT_EQ(cache.Match(1, first).size(), 3U);
  auto second = Count(2 * kBlock);
  second.resize(4 * kBlock, 7);
  const auto found = cache.Match(1, second);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(FirstOf(found[1]), kBlock);
}

TEST(PrefixCacheTest, ScopesDoNotSeeEachOther) {
  PrefixCache cache(sizeof(TokenId), 1 << 20);
  const auto prompt = Count(3 * kBlock);
  cache.Insert(1, prompt, Tokens(prompt));
  EXPECT_TRUE(cache.Match(2, prompt).empty());
}

/// The name of a block, as the index gives it: whoever asks can work towards one.
std::uint64_t NameOf(std::uint64_t parent, std::span<const TokenId> tokens) {
  const auto mix = [](std::uint64_t value) {
    value = (value ^ (value >> 33)) * 0xff51afd7ed558ccdULL;
    value = (value ^ (value >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return value ^ (value >> 33);
  };
  std::uint64_t name = mix(parent + 0x9e3779b97f4a7c15ULL);
  for (const TokenId token : tokens) name = mix(name ^ static_cast<std::uint32_t>(token));
  return name;
}

TEST(PrefixCacheTest, WhoseBlockHasTheNameOfAnothersScopeSharesNothingWithIt) {
  PrefixCache cache(sizeof(TokenId), 1 << 20);
  const auto prompt = Count(4 * kBlock);
  const std::uint64_t other = NameOf(1, std::span(prompt).first(kBlock));
  cache.Insert(1, prompt, Tokens(prompt));
  ASSERT_EQ(cache.Match(1, prompt).size(), 3U);
  const std::vector<TokenId> rest(prompt.begin() + kBlock, prompt.end());
  const std::size_t before = cache.bytes();
  cache.Insert(other, rest, Tokens(rest));
  EXPECT_EQ(cache.bytes(), before) << "the names do not collide any more: NameOf is out of date";
  EXPECT_TRUE(cache.Match(other, rest).empty());
}

TEST(PrefixCacheTest, TheSameBlockElsewhereIsAnother) {
  PrefixCache cache(sizeof(TokenId), 1 << 20);
  const auto prompt = Count(3 * kBlock);
  cache.Insert(1, prompt, Tokens(prompt));
  EXPECT_TRUE(cache.Match(1, Count(3 * kBlock, kBlock)).empty());
}

TEST(PrefixCacheTest, ShrinkingForgetsTheLeastRecentlyUsedAndLetsNewOnesIn) {
  PrefixCache cache(sizeof(TokenId), 1 << 20);
  const auto older = Count(3 * kBlock), newer = Count(3 * kBlock, 1000);
  cache.Insert(1, older, Tokens(older));
  cache.Insert(1, newer, Tokens(newer));
  const std::size_t block = cache.bytes() / 6;
  cache.Shrink(4 * block + 1);
  EXPECT_EQ(cache.bytes(), 4 * block);
  EXPECT_EQ(cache.Match(1, older).size(), 1U);
  EXPECT_EQ(cache.Match(1, newer).size(), 2U);
  cache.Shrink(0);
  EXPECT_EQ(cache.bytes(), 0U);
  cache.Insert(1, older, Tokens(older));
  EXPECT_EQ(cache.bytes(), 3 * block);
}

TEST(PrefixCacheTest, TwoTokensAreLeftToCompute) {
  PrefixCache cache(sizeof(TokenId), 1 << 20);
  const auto prompt = Count(2 * kBlock);
  cache.Insert(1, prompt, Tokens(prompt));
  EXPECT_EQ(cache.Match(1, Count(2 * kBlock)).size(), 1U);
  EXPECT_EQ(cache.Match(1, Count(2 * kBlock + 1)).size(), 1U);
  EXPECT_EQ(cache.Match(1, Count(2 * kBlock + 2)).size(), 2U);
  EXPECT_TRUE(cache.Match(1, Count(1)).empty());
}

TEST(PrefixCacheTest, WithoutMemoryNothingIsKept) {
  PrefixCache cache(sizeof(TokenId), 0);
  const auto prompt = Count(3 * kBlock);
  cache.Insert(1, prompt, Tokens(prompt));
  EXPECT_EQ(cache.bytes(), 0U);
}

TEST(PrefixCacheTest, TheLeastRecentlyUsedPathGoesFirstFromItsEnd) {
  PrefixCache cache(sizeof(TokenId), 4 * kBlock * sizeof(TokenId));
  const auto first = Count(2 * kBlock);
  const auto second = Count(2 * kBlock, 1000);
  cache.Insert(1, first, Tokens(first));
  cache.Insert(1, second, Tokens(second));
  cache.Match(1, Count(2 * kBlock + 2));  // `first` is the more recent one now.
  const auto third = Count(kBlock, 2000);
  cache.Insert(1, third, Tokens(third));
  EXPECT_EQ(cache.Match(1, Count(2 * kBlock + 2)).size(), 2U);
  EXPECT_EQ(cache.Match(1, Count(2 * kBlock + 2, 1000)).size(), 1U);
}

TEST(PrefixCacheTest, WhateverComesItStaysBoundedAndGivesTheRightBlocks) {
  std::mt19937 random(5);
  PrefixCache cache(sizeof(TokenId), 20 * kBlock * sizeof(TokenId));
  for (int i = 0; i < 3000; ++i) {
    std::vector<TokenId> prompt;
    const int blocks = static_cast<int>(random() % 6);
    for (int block = 0; block < blocks; ++block) {
      prompt.resize(prompt.size() + kBlock, static_cast<TokenId>(random() % 3));
    }
    prompt.resize(prompt.size() + 1 + random() % 5, 9);
    const std::uint64_t scope = random() % 2;
    const auto found = cache.Match(scope, prompt);
    for (std::size_t block = 0; block < found.size(); ++block) {
      EXPECT_EQ(FirstOf(found[block]), prompt[block * kBlock]);
    }
    cache.Insert(scope, prompt, Tokens(prompt));
    EXPECT_LE(cache.bytes(), 20 * kBlock * sizeof(TokenId));
  }
}

}  // namespace
}  // namespace llmrouter
