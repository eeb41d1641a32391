// The sampler against a plain one, written for clarity in double precision: it computes the whole
// distribution that the options describe, and draws are held against it by chi-squared.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "llmrouter/sampling.h"
#include "vector_math.h"

namespace llmrouter {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// One row to draw from, with all that may shape the draw.
struct Scene {
  std::vector<float> logits;
  std::vector<TokenId> prompt = {};
  std::vector<TokenId> answer = {};
  std::vector<TokenId> forbidden = {};
  SamplingOptions options = {};
};

std::vector<double> Adjusted(const Scene& scene) {
  std::vector<double> logits(scene.logits.begin(), scene.logits.end());
  for (const TokenId token : scene.forbidden) logits[token] = kNever;
  for (const auto& [token, bias] : scene.options.logit_bias) logits[token] += bias;
  std::map<TokenId, int> said;
  for (const TokenId token : scene.prompt) said[token] += 0;
  for (const TokenId token : scene.answer) said[token] += 1;
  for (const auto& [token, times] : said) {
    const double penalty = scene.options.repetition_penalty;
    logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
    logits[token] -= times * scene.options.frequency_penalty;
    if (times > 0) logits[token] -= scene.options.presence_penalty;
  }
  return logits;
}

/// The probability of every token; temperature is over 0.
std::vector<double> Distribution(const Scene& scene) {
  std::vector<double> logits = Adjusted(scene);
  const double highest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> weights;
  for (const double logit : logits) {
    const double weight = std::exp((logit - highest) / scene.options.temperature);
    weights.push_back(weight >= scene.options.min_p ? weight : 0);
  }
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return weights[a] > weights[b]; });
  if (scene.options.top_k > 0) {
    for (std::size_t i = scene.options.top_k; i < order.size(); ++i) weights[order[i]] = 0;
  }
  const double mass = std::accumulate(weights.begin(), weights.end(), 0.0) * scene.options.top_p;
  double kept = 0;
  for (const int token : order) {
    if (scene.options.top_p < 1 && kept >= mass) weights[token] = 0;
    kept += weights[token];
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= total;
  return weights;
}

/// Draws against their distribution; tokens expected less than ten times count together.
void ExpectDrawsFollow(Scene scene, int draws) {
  const std::vector<double> expected = Distribution(scene);
  TokenCounts counts(scene.prompt, static_cast<int>(scene.answer.size()) + 1);
  for (const TokenId token : scene.answer) counts.Say(token);
  Sampler sampler(static_cast<int>(scene.logits.size()));
  DrawState state;
  state.counts = &counts;
  state.forbidden = scene.forbidden;
  std::vector<int> drawn(expected.size());
  for (int i = 0; i < draws; ++i) {
    state.index = i;
    const TokenId token = sampler.Sample(scene.logits, scene.options, state).value();
    ASSERT_GT(expected[token], 0) << "token " << token << " has been dropped";
    ++drawn[token];
  }
  double statistic = 0;
  double rare_expected = 0;
  double rare_drawn = 0;
  int freedom = -1;
  const auto compare = [&](double counted, double wanted) {
    statistic += (counted - wanted) * (counted - wanted) / wanted;
    ++freedom;
  };
  for (std::size_t token = 0; token < expected.size(); ++token) {
    if (expected[token] * draws >= 10) {
      compare(drawn[token], expected[token] * draws);
    } else {
      rare_expected += expected[token] * draws;
      rare_drawn += drawn[token];
    }
  }
  if (rare_expected > 5) compare(rare_drawn, rare_expected);
  if (freedom < 1) return;
  // Wilson and Hilferty's normal approximation; 5 deviations are one in three million.
  const double ninth = 2.0 / (9.0 * freedom);
  const double deviations = (std::cbrt(statistic / freedom) - (1 - ninth)) / std::sqrt(ninth);
  EXPECT_LT(deviations, 5.0) << "chi-squared " << statistic << " at " << freedom << " degrees";
}

/// Whole numbers and fractions from one stream.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : seed_(seed) {}
  double Share() { return UniformDraw(seed_, next_++); }
  int Below(int end) { return static_cast<int>(Share() * end); }
  bool Maybe() { return Share() < 0.5; }

 private:
  std::uint64_t seed_;
  std::uint64_t next_ = 0;
};

std::vector<TokenId> SomeTokens(Dice* dice, int most, int vocabulary) {
  std::vector<TokenId> tokens(dice->Below(most));
  for (TokenId& token : tokens) token = dice->Below(vocabulary);
  return tokens;
}

Scene RandomScene(std::uint64_t seed) {
  constexpr int kSizes[] = {3, 64, 65, 200, 777};
  Dice dice(1000 + seed);
  Scene scene;
  const int vocabulary = kSizes[seed % 5];
  const double spread = 1 + 9 * dice.Share();
  for (int i = 0; i < vocabulary; ++i) {
    scene.logits.push_back(static_cast<float>((dice.Share() - 0.6) * spread));
  }
  scene.prompt = SomeTokens(&dice, 50, vocabulary);
  scene.answer = SomeTokens(&dice, 50, vocabulary);
  SamplingOptions& options = scene.options;
  options.seed = seed;
  options.temperature = static_cast<float>(0.3 + 1.5 * dice.Share());
  if (dice.Maybe()) options.top_k = 1 + dice.Below(vocabulary + 5);
  if (dice.Maybe()) options.top_p = static_cast<float>(0.05 + 0.94 * dice.Share());
  if (dice.Maybe()) options.min_p = static_cast<float>(0.3 * dice.Share());
  if (dice.Maybe()) options.repetition_penalty = static_cast<float>(0.5 + 2 * dice.Share());
  if (dice.Maybe()) options.presence_penalty = static_cast<float>(4 * dice.Share() - 2);
  if (dice.Maybe()) options.frequency_penalty = static_cast<float>(4 * dice.Share() - 2);
  if (dice.Maybe()) {
    options.logit_bias = {{0, static_cast<float>(6 * dice.Share() - 3)},
                          {vocabulary - 1, static_cast<float>(200 * dice.Share() - 100)}};
  }
  if (dice.Maybe()) scene.forbidden = {dice.Below(vocabulary)};
  return scene;
}

TEST(SamplingReference, DrawsFollowWhateverTheOptionsDescribe) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE("scene " + std::to_string(seed));
    ExpectDrawsFollow(RandomScene(seed), 1000);
  }
}

TEST(SamplingReference, MaximaThatWereNotedChangeNoDraw) {
  constexpr int kVocabulary = 20'000;
  Sampler sampler(kVocabulary);
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE("scene " + std::to_string(seed));
    Scene scene = RandomScene(seed);
    Dice dice(seed);
    // A few high ones stand anywhere, those that the options change among them.
    while (static_cast<int>(scene.logits.size()) < kVocabulary) {
      scene.logits.push_back(static_cast<float>(dice.Share() - (dice.Below(1000) == 0 ? 0 : 9)));
    }
    if (dice.Maybe()) scene.options.temperature = 0;
    TokenCounts counts(scene.prompt, static_cast<int>(scene.answer.size()) + 1);
    for (const TokenId token : scene.answer) counts.Say(token);
    std::vector<float> maxima(Blocks(kVocabulary));
    BlockMaxima(scene.logits, maxima);
    DrawState state;
    state.counts = &counts;
    state.forbidden = scene.forbidden;
    std::vector<std::uint32_t> allowed(kVocabulary / 32, 0xfffffffeU);
    if (dice.Below(4) == 0) state.allowed = allowed;
    for (state.index = 0; state.index < 20; ++state.index) {
      state.maxima = {};
      const TokenId token = sampler.Sample(scene.logits, scene.options, state).value();
      state.maxima = maxima;
      ASSERT_EQ(sampler.Sample(scene.logits, scene.options, state).value(), token);
    }
  }
}

TEST(SamplingReference, EachOptionAloneDoesWhatItSays) {
  const Scene plain{.logits = RandomScene(4).logits, .prompt = {1, 2, 3}, .answer = {3, 3, 9}};
  std::vector<SamplingOptions> each = {
      {},
      {.temperature = 0.5F},
      {.top_k = 7},
      {.top_p = 0.3F},
      {.min_p = 0.2F},
      {.repetition_penalty = 1.7F},
      {.presence_penalty = 1.5F},
      {.frequency_penalty = -1.5F},
      {.logit_bias = {{5, 4.0F}, {6, -100.0F}}},
  };
  for (std::size_t i = 0; i < each.size(); ++i) {
    SCOPED_TRACE("option " + std::to_string(i));
    Scene scene = plain;
    scene.options = each[i];
    ExpectDrawsFollow(scene, 20000);
  }
}

TEST(SamplingReference, AWideNucleusIsCutWhereItsMassIsReached) {
  // Hundreds of tokens of about the same weight, and the same with many equal ones.
  for (const bool ties : {false, true}) {
    Dice dice(7);
    Scene scene;
    for (int i = 0; i < 400; ++i) {
      const double logit = 2 * dice.Share();
      scene.logits.push_back(static_cast<float>(ties ? std::round(4 * logit) / 4 : logit));
    }
    for (const float top_p : {0.2F, 0.6F, 0.97F}) {
      SCOPED_TRACE(top_p);
      scene.options.top_p = top_p;
      ExpectDrawsFollow(scene, 20000);
    }
  }
}

TEST(SamplingReference, GreedyTakesTheHighestAfterBiasAndPenalties) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Scene scene = RandomScene(seed);
    scene.options.temperature = 0;
    const std::vector<double> logits = Adjusted(scene);
    TokenCounts counts(scene.prompt, 100);
    for (const TokenId token : scene.answer) counts.Say(token);
    DrawState state;
    state.counts = &counts;
    state.forbidden = scene.forbidden;
    Sampler sampler(static_cast<int>(logits.size()));
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    EXPECT_EQ(sampler.Sample(scene.logits, scene.options, state).value(), best) << seed;
  }
}

TEST(SamplingReference, LogProbabilitiesAreThoseOfTheLogitsAsComputed) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const std::vector<float> logits = RandomScene(seed).logits;
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    std::vector<TokenId> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
    Sampler sampler(static_cast<int>(logits.size()));
    const int top = static_cast<int>(seed % 21);
    const auto last = static_cast<TokenId>(logits.size() - 1);
    const SampledLogprob told = sampler.Logprob(logits, last, top);
    EXPECT_EQ(told.sampled.token, last);
    EXPECT_NEAR(told.sampled.logprob, logits[last] - std::log(total), 1e-5);
    ASSERT_EQ(told.top.size(), std::min<std::size_t>(top, logits.size()));
    double mass = 0;
    for (std::size_t i = 0; i < told.top.size(); ++i) {
      EXPECT_EQ(told.top[i].token, order[i]);
      EXPECT_NEAR(told.top[i].logprob, logits[order[i]] - std::log(total), 1e-5);
      mass += std::exp(static_cast<double>(told.top[i].logprob));
    }
    EXPECT_LE(mass, 1 + 1e-6);
  }
}

}  // namespace
}  // namespace llmrouter
