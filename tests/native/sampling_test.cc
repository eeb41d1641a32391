#include "llmrouter/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "vector_math.h"

namespace llmrouter {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> Logits(int size, std::uint64_t seed) {
  std::vector<float> logits(size);
  for (int i = 0; i < size; ++i) logits[i] = static_cast<float>(UniformDraw(seed, i)) * 8;
  return logits;
}

DrawState At(std::uint64_t index) {
  DrawState state;
  state.index = index;
  return state;
}

/// How often each token is drawn, as a share.
std::vector<double> Shares(std::vector<float> logits, SamplingOptions options, int draws) {
  Sampler sampler(static_cast<int>(logits.size()));
  std::vector<double> shares(logits.size());
  for (int i = 0; i < draws; ++i) {
    shares[sampler.Sample(logits, options, At(i)).value()] += 1.0 / draws;
  }
  return shares;
}

TEST(Sampling, PhiloxGivesItsPublishedNumbers) {
  // Known answers of Random123: counter 0 and key 0 give 6627e8d5 e169c58d.
  const std::uint64_t bits = (std::uint64_t{0x6627e8d5} << 32) | 0xe169c58d;
  EXPECT_EQ(UniformDraw(0, 0), static_cast<double>(bits >> 11) * 0x1p-53);
}

TEST(Sampling, EveryAnswerHasAStreamOfItsOwnAndTheFirstIsThatOfASingleOne) {
  EXPECT_EQ(UniformDraw(5, 9, 0), UniformDraw(5, 9));
  EXPECT_NE(UniformDraw(5, 9, 1), UniformDraw(5, 9, 0));
  EXPECT_NE(UniformDraw(5, 9, 1), UniformDraw(5, 9, 2));
  Sampler sampler(500);
  std::vector<float> logits = Logits(500, 1);
  int different = 0;
  for (int i = 0; i < 100; ++i) {
    DrawState other = At(i);
    other.answer = 3;
    different += sampler.Sample(logits, {.seed = 7}, At(i)).value() !=
                         sampler.Sample(logits, {.seed = 7}, other).value()
                     ? 1
                     : 0;
  }
  EXPECT_GT(different, 80);
}

TEST(Sampling, GreedyTakesTheHighestAndTheLowestIdOfATie) {
  for (const int size : {1, 7, 16, 100, 1000}) {
    Sampler sampler(size);
    std::vector<float> logits(size, -1.0F);
    logits[size / 2] = 3.0F;
    logits[size - 1] = 3.0F;
    EXPECT_EQ(sampler.Sample(logits, {.temperature = 0}, At(0)).value(), size / 2);
  }
}

TEST(Sampling, NumbersThatAreNotNumbersFailWhereverTheyStand) {
  for (const int size : {5, 64, 131}) {
    for (int at = 0; at < size; ++at) {
      Sampler sampler(size);
      std::vector<float> logits(size, 0.0F);
      logits[at] = std::nanf("");
      EXPECT_FALSE(sampler.Sample(logits, {.temperature = 0}, At(0)).ok());
      logits[at] = kInfinity;
      EXPECT_FALSE(sampler.Sample(logits, {}, At(0)).ok());
    }
  }
}

TEST(Sampling, MaximaThatWereNotedTellOfNumbersThatAreNone) {
  Sampler sampler(1000);
  std::vector<float> logits = Logits(1000, 1);
  logits[700] = -std::nanf("");
  std::vector<float> maxima(Blocks(logits.size()));
  EXPECT_TRUE(BlockMaxima(logits, maxima).has_nan);
  DrawState state = At(0);
  state.maxima = maxima;
  EXPECT_FALSE(sampler.Sample(logits, {.temperature = 0}, state).ok());
  const std::vector<TokenId> forbidden = {700};
  state.forbidden = forbidden;
  EXPECT_TRUE(sampler.Sample(logits, {.temperature = 0}, state).ok());
}

TEST(Sampling, FailuresSayWhetherTheModelOrTheOptionsAreToBlame) {
  Sampler sampler(100);
  std::vector<float> logits = Logits(100, 1);
  DrawState nothing_left = At(0);
  std::vector<TokenId> every(100);
  std::iota(every.begin(), every.end(), 0);
  nothing_left.forbidden = every;
  const auto why = [&](const SamplingOptions& options, const DrawState& state) {
    const auto result = sampler.Sample(logits, options, state);
    return result.ok() ? "it drew" : result.failure().message;
  };
  EXPECT_NE(why({}, nothing_left).find("leave no token"), std::string::npos);
  const SamplingOptions biased{.top_k = 5, .logit_bias = {{3, 100.0F}, {4, -100.0F}}};
  EXPECT_EQ(why(biased, At(0)), "it drew");
  logits[90] = std::nanf("");
  EXPECT_NE(why(biased, At(0)).find("not numbers"), std::string::npos);
  logits[90] = kInfinity;
  EXPECT_NE(why(biased, At(0)).find("infinite"), std::string::npos);
}

TEST(Sampling, TheLogitsThemselvesStayAsTheyAre) {
  Sampler sampler(300);
  std::vector<float> logits = Logits(300, 1);
  const std::vector<float> before = logits;
  const TokenCounts counts(std::vector<TokenId>{1, 2, 3}, 1);
  // Each of these tokens changes more than once.
  const std::vector<TokenId> forbidden = {2, 5};
  const std::vector<std::uint32_t> allowed(10, 0xffff0000U);
  const SamplingOptions options{.repetition_penalty = 2.0F, .logit_bias = {{2, 9.0F}, {5, 9.0F}}};
  for (const bool grammar : {false, true}) {
    DrawState state = At(0);
    state.counts = &counts;
    state.forbidden = forbidden;
    if (grammar) state.allowed = allowed;
    EXPECT_TRUE(sampler.Sample(logits, options, state).ok());
    EXPECT_EQ(logits, before) << grammar;
  }
  std::vector<TokenId> every(300);
  std::iota(every.begin(), every.end(), 0);
  DrawState nothing_left = At(0);
  nothing_left.forbidden = every;
  EXPECT_FALSE(sampler.Sample(logits, options, nothing_left).ok());
  EXPECT_EQ(logits, before);
}

TEST(Sampling, LogProbabilitiesLeaveOutWhatTheModelRulesOut) {
  Sampler sampler(200);
  std::vector<float> logits(200, -kInfinity);
  logits[150] = 1.0F;
  logits[20] = 1.0F;
  const SampledLogprob told = sampler.Logprob(logits, 150, 20);
  ASSERT_EQ(told.top.size(), 2U);
  EXPECT_EQ(told.top[0].token, 20);
  EXPECT_NEAR(told.sampled.logprob, std::log(0.5F), 1e-6);
}

TEST(Sampling, ForbiddenTokensAreNeverDrawnAndAllForbiddenFails) {
  Sampler sampler(40);
  std::vector<float> logits(40, -kInfinity);
  EXPECT_FALSE(sampler.Sample(logits, {}, At(0)).ok());
  logits[17] = 0;
  for (int i = 0; i < 200; ++i) EXPECT_EQ(sampler.Sample(logits, {.seed = 5}, At(i)).value(), 17);
}

TEST(Sampling, DrawsFollowTheSoftmax) {
  std::vector<float> logits = {0.0F, 1.0F, 2.0F, 3.0F};
  const std::vector<double> shares = Shares(logits, {.temperature = 2.0F, .seed = 3}, 40000);
  double total = 0;
  for (const float logit : logits) total += std::exp(logit / 2.0);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(shares[i], std::exp(logits[i] / 2.0) / total, 0.01) << i;
}

TEST(Sampling, TopKKeepsExactlyTheKMostLikely) {
  for (const int k : {1, 3, 20, 150, 299}) {
    std::vector<float> logits = Logits(300, 9);
    std::vector<int> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    const std::vector<double> shares =
        Shares(logits, {.temperature = 100.0F, .top_k = k, .seed = 1}, 20000);
    for (int rank = 0; rank < 300; ++rank) EXPECT_EQ(shares[order[rank]] > 0, rank < k) << rank;
  }
}

TEST(Sampling, TopKBreaksTiesByTheLowestId) {
  const std::vector<double> shares = Shares(std::vector<float>(200, 1.0F), {.top_k = 2}, 500);
  EXPECT_GT(shares[0], 0);
  EXPECT_GT(shares[1], 0);
  EXPECT_NEAR(shares[0] + shares[1], 1.0, 1e-9);
}

TEST(Sampling, TopPKeepsTheSmallestSetWithItsMass) {
  std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F), std::log(0.05F)};
  const std::vector<double> shares = Shares(logits, {.top_p = 0.7F, .seed = 2}, 20000);
  EXPECT_NEAR(shares[0], 0.5 / 0.8, 0.02);
  EXPECT_NEAR(shares[1], 0.3 / 0.8, 0.02);
  EXPECT_EQ(shares[2], 0);
  EXPECT_EQ(shares[3], 0);
}

TEST(Sampling, ATinyTopPIsGreedy) {
  std::vector<float> logits = Logits(1000, 4);
  Sampler sampler(1000);
  const TokenId best = sampler.Sample(logits, {.temperature = 0}, At(0)).value();
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(sampler.Sample(logits, {.top_p = 1e-6F, .seed = 8}, At(i)).value(), best);
  }
}

TEST(Sampling, TopPWithinTopKCountsTheMassOfTheK) {
  std::vector<float> logits = {std::log(0.4F), std::log(0.4F), std::log(0.2F)};
  const std::vector<double> shares = Shares(logits, {.top_k = 2, .top_p = 0.45F, .seed = 6}, 2000);
  EXPECT_NEAR(shares[0], 1.0, 1e-9);
}

TEST(Sampling, ADrawDependsOnSeedAndIndexAlone) {
  std::vector<float> logits = Logits(500, 1);
  Sampler fresh(500);
  Sampler used(500);
  for (int i = 0; i < 20; ++i) {
    std::vector<float> others = Logits(500, 50 + i);
    (void)used.Sample(others, {.seed = 99}, At(i));
  }
  int different = 0;
  for (int i = 0; i < 50; ++i) {
    const SamplingOptions options{.top_k = i % 2 == 0 ? 40 : 0, .top_p = 0.9F, .seed = 7};
    const TokenId token = fresh.Sample(logits, options, At(i)).value();
    EXPECT_EQ(used.Sample(logits, options, At(i)).value(), token);
    SamplingOptions other = options;
    other.seed = 8;
    different += fresh.Sample(logits, other, At(i)).value() != token ? 1 : 0;
  }
  EXPECT_GT(different, 25);
}

TEST(Sampling, TinyTemperaturesDoNotOverflow) {
  Sampler sampler(100);
  std::vector<float> logits = Logits(100, 2);
  const TokenId best = sampler.Sample(logits, {.temperature = 0}, At(0)).value();
  for (const float temperature : {1e-30F, 1e-6F, 1e-4F}) {
    EXPECT_EQ(sampler.Sample(logits, {.temperature = temperature, .seed = 1}, At(3)).value(), best);
  }
}

TEST(VectorMath, TheFirstOfEqualsIsFoundWhereverItStands) {
  for (const std::size_t size : {1, 63, 64, 65, 200}) {
    for (std::size_t at = 0; at < size; ++at) {
      std::vector<float> values(size, 0.0F);
      values[at] = values[size - 1] = 2.0F;
      EXPECT_EQ(FindFirst(values, 2.0F), at);
      EXPECT_EQ(FindFirst(values, 3.0F), size);
    }
  }
}

TEST(VectorMath, WeightsAreTheExponentialWithinItsLastBits) {
  std::vector<float> logits;
  for (float x = -86.0F; x <= 0.0F; x += 0.01F) logits.push_back(x);
  std::vector<float> weights(logits.size());
  std::vector<float> sums(Blocks(logits.size()));
  const double sum = SoftmaxWeights(logits, 0.0F, 1.0F, weights, sums);
  double expected_sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double expected = std::exp(static_cast<double>(logits[i]));
    EXPECT_NEAR(weights[i] / expected, 1.0, 3e-7) << logits[i];
    expected_sum += expected;
  }
  EXPECT_NEAR(sum / expected_sum, 1.0, 1e-6);
}

TEST(VectorMath, MaximaAndMassesOfBlocksAreThoseOfTheirValues) {
  for (const int size : {1, 63, 64, 65, 128, 1000}) {
    std::vector<float> values = Logits(size, 3);
    std::vector<float> maxima(Blocks(values.size()));
    const Highest highest = BlockMaxima(values, maxima);
    EXPECT_EQ(highest.value, *std::max_element(values.begin(), values.end()));
    EXPECT_FALSE(highest.has_nan);
    for (std::size_t block = 0; block < maxima.size(); ++block) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
      const auto left = std::min<std::ptrdiff_t>(kBlock, values.end() - begin);
      EXPECT_EQ(maxima[block], *std::max_element(begin, begin + left));
    }
    for (const float none : {std::nanf(""), -std::nanf("")}) {
      std::vector<float> poisoned = values;
      poisoned[static_cast<std::size_t>(size / 2)] = none;
      EXPECT_TRUE(BlockMaxima(poisoned, maxima).has_nan);
      for (std::size_t block = 0; block < maxima.size(); ++block) {
        EXPECT_EQ(std::isnan(maxima[block]), block == static_cast<std::size_t>(size / 2) / kBlock);
      }
    }
    BlockMaxima(values, maxima);
    for (const float threshold : {0.0F, 2.0F, 7.5F, 9.0F}) {
      double expected = 0;
      for (const float value : values) expected += value >= threshold ? value : 0;
      EXPECT_NEAR(MassReaching(values, maxima, threshold), expected, 1e-5 * expected);
    }
  }
}

TEST(VectorMath, WeightsOfTheForbiddenAreZero) {
  std::vector<float> logits = {-kInfinity, -1000.0F, 0.0F};
  std::vector<float> weights(3);
  std::vector<float> sums(1);
  EXPECT_EQ(SoftmaxWeights(logits, 0.0F, 1.0F, weights, sums), 1.0);
  EXPECT_EQ(weights[0], 0.0F);
  EXPECT_EQ(weights[1], 0.0F);
}

}  // namespace
}  // namespace llmrouter
