#include "llmrouter/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "vector_math.h"

namespace llmrouter {
namespace {

constexpr int kPhiloxRounds = 10;

std::uint64_t PhiloxBits(std::uint64_t seed, std::uint64_t index) {
  std::array<std::uint32_t, 4> counter = {static_cast<std::uint32_t>(index),
                                          static_cast<std::uint32_t>(index >> 32), 0, 0};
  std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(seed),
                                      static_cast<std::uint32_t>(seed >> 32)};
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return (std::uint64_t{counter[0]} << 32) | counter[1];
}

TokenId FirstOf(std::span<const float> logits, float value) {
  return static_cast<TokenId>(FindFirst(logits, value));
}

}  // namespace

double UniformDraw(std::uint64_t seed, std::uint64_t index) {
  return static_cast<double>(PhiloxBits(seed, index) >> 11) * 0x1p-53;
}

Sampler::Sampler(int vocabulary)
    : weights_(static_cast<std::size_t>(vocabulary)),
      block_maxima_((weights_.size() + kBlock - 1) / kBlock) {
  candidates_.reserve(weights_.size());
}

Result<TokenId> Sampler::Sample(std::span<const float> logits, const SamplingOptions& options,
                                std::uint64_t index) {
  const Highest highest = FindHighest(logits);
  if (highest.has_nan) return Failure{"the model computed logits that are not numbers"};
  if (!std::isfinite(highest.value)) return Failure{"the model computed infinite logits"};
  // Below this the weights of all but the best token vanish, and 1 / temperature may overflow.
  if (options.temperature < 1e-6F) return FirstOf(logits, highest.value);

  const double uniform = UniformDraw(options.seed, index);
  const float inverse = 1.0F / options.temperature;
  if (options.top_k > 0 && options.top_k < static_cast<int>(logits.size())) {
    KeepTopK(logits, options.top_k);
    const double total = WeighCandidates(highest.value, inverse);
    CutNucleus(total * options.top_p);
    return DrawFromCandidates(uniform);
  }
  const std::span<float> weights = std::span(weights_).first(logits.size());
  const double total = SoftmaxWeights(logits, highest.value, inverse, weights);
  if (options.top_p >= 1) return DrawFromAll(weights, total * uniform);
  KeepHeaviest(weights, total * options.top_p);
  CutNucleus(total * options.top_p);
  return DrawFromCandidates(uniform);
}

void Sampler::KeepTopK(std::span<const float> logits, int k) {
  // The k-th highest block maximum is at most the k-th highest logit: few candidates pass it.
  float threshold = -std::numeric_limits<float>::infinity();
  const std::span<float> maxima =
      std::span(block_maxima_).first((logits.size() + kBlock - 1) / kBlock);
  if (static_cast<std::size_t>(k) <= maxima.size()) {
    BlockMaxima(logits, maxima);
    std::nth_element(maxima.begin(), maxima.begin() + (k - 1), maxima.end(), std::greater<>());
    threshold = maxima[k - 1];
  }
  candidates_.clear();
  for (std::size_t token = 0; token < logits.size(); ++token) {
    if (logits[token] >= threshold) {
      candidates_.push_back({logits[token], static_cast<TokenId>(token)});
    }
  }
  const auto last = candidates_.begin() + k;
  std::nth_element(candidates_.begin(), last - 1, candidates_.end(), Before);
  candidates_.erase(last, candidates_.end());
  std::sort(candidates_.begin(), candidates_.end(), Before);
}

double Sampler::WeighCandidates(float highest, float inverse_temperature) {
  const std::span<float> weights = std::span(weights_).first(candidates_.size());
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = candidates_[i].weight;
  const double total = SoftmaxWeights(weights, highest, inverse_temperature, weights);
  for (std::size_t i = 0; i < weights.size(); ++i) candidates_[i].weight = weights[i];
  return total;
}

void Sampler::KeepHeaviest(std::span<const float> weights, double mass) {
  // The best token weighs 1. Most nuclei are a handful of tokens: look near the top first.
  for (const float floor : {0x1p-4F, 0x1p-8F, 0x1p-12F, 0x1p-16F, 0.0F}) {
    candidates_.clear();
    double kept = 0;
    for (std::size_t token = 0; token < weights.size(); ++token) {
      if (weights[token] < floor) continue;
      candidates_.push_back({weights[token], static_cast<TokenId>(token)});
      kept += weights[token];
    }
    if (kept >= mass) break;
  }
  std::sort(candidates_.begin(), candidates_.end(), Before);
}

void Sampler::CutNucleus(double mass) {
  double kept = 0;
  std::size_t size = 0;
  while (size < candidates_.size() && kept < mass) kept += candidates_[size++].weight;
  candidates_.resize(std::max<std::size_t>(size, 1));
}

TokenId Sampler::DrawFromCandidates(double uniform) const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double left = total * uniform;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return candidates_.front().token;  // Rounding: less than the last weight's last bit was left.
}

TokenId Sampler::DrawFromAll(std::span<const float> weights, double left) {
  for (std::size_t token = 0; token < weights.size(); ++token) {
    left -= weights[token];
    if (left < 0) return static_cast<TokenId>(token);
  }
  return FirstOf(weights, 1.0F);  // Rounding, as above: the best token weighs 1.
}

bool Sampler::Before(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

}  // namespace llmrouter
