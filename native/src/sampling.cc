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

std::uint64_t PhiloxBits(std::uint64_t seed, std::uint64_t index, std::uint32_t answer) {
  std::array<std::uint32_t, 4> counter = {static_cast<std::uint32_t>(index),
                                          static_cast<std::uint32_t>(index >> 32), answer, 0};
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

/// More than any weight.
constexpr float kAll = 2.0F;
constexpr float kNever = -std::numeric_limits<float>::infinity();
/// Below this the weights of all but the best token vanish, and 1 / temperature may overflow.
constexpr float kGreedy = 1e-6F;

bool Penalises(const SamplingOptions& options) {
  return options.repetition_penalty != 1 || options.presence_penalty != 0 ||
         options.frequency_penalty != 0;
}

Failure NotNumbers(std::span<const float> logits, std::span<float> scratch, bool has_nan) {
  const Highest computed = BlockMaxima(logits, scratch);
  if (std::isfinite(computed.value) && !computed.has_nan) {
    return {"logit_bias, penalties, min_tokens and the grammar leave no token that can be drawn"};
  }
  return {has_nan ? "the model computed logits that are not numbers"
                  : "the model computed infinite logits"};
}

/// Rules out the tokens whose bit is not set, and those past the mask.
void RuleOut(std::span<const std::uint32_t> allowed, std::span<float> logits) {
  std::size_t token = 0;
  for (const std::uint32_t word : allowed) {
    const std::size_t end = std::min(token + 32, logits.size());
    if (word == 0) {
      std::fill(logits.begin() + token, logits.begin() + end, kNever);
    } else if (word != ~std::uint32_t{0}) {
      const std::span<float> block = logits.subspan(token, end - token);
      for (std::size_t bit = 0; bit < block.size(); ++bit) {
        block[bit] = (word >> bit & 1) != 0 ? block[bit] : kNever;
      }
    }
    token = end;
  }
  std::fill(logits.begin() + token, logits.end(), kNever);
}

/// The first token with the highest logit.
TokenId Best(std::span<const float> logits, std::span<const float> maxima, float highest) {
  const std::size_t begin = FindFirst(maxima, highest) * kBlock;
  return static_cast<TokenId>(begin + FindFirst(logits.subspan(begin), highest));
}

}  // namespace

double UniformDraw(std::uint64_t seed, std::uint64_t index, std::uint32_t answer) {
  return static_cast<double>(PhiloxBits(seed, index, answer) >> 11) * 0x1p-53;
}

Sampler::Sampler(int vocabulary)
    : weights_(static_cast<std::size_t>(vocabulary)),
      block_maxima_(Blocks(weights_.size())),
      block_scratch_(block_maxima_.size()),
      candidates_(weights_.size()) {
  selection_.reserve(weights_.size());
  changed_.reserve(weights_.size());
}

Result<TokenId> Sampler::Sample(std::span<float> logits, const SamplingOptions& options,
                                const DrawState& state) {
  const std::span<const float> adjusted = Adjust(logits, options, state);
  const Highest highest = FindMaxima(adjusted, state);
  const bool numbers = !highest.has_nan && std::isfinite(highest.value);
  const TokenId token = numbers ? Draw(adjusted, highest.value, options, state) : 0;
  PutBack(logits);
  if (!numbers) return NotNumbers(logits, block_scratch_, highest.has_nan);
  return token;
}

Highest Sampler::FindMaxima(std::span<const float> adjusted, const DrawState& state) {
  // A block whose logits have changed costs about two that are looked at in a row.
  const bool few = 2 * changed_.size() < block_maxima_.size();
  if (state.maxima.empty() || !state.allowed.empty() || !few) {
    return BlockMaxima(adjusted, block_maxima_);
  }
  std::copy(state.maxima.begin(), state.maxima.end(), block_maxima_.begin());
  for (const Candidate& entry : changed_) {
    const std::size_t block = static_cast<std::size_t>(entry.token) / kBlock;
    const std::size_t begin = block * kBlock;
    BlockMaxima(adjusted.subspan(begin, std::min(kBlock, adjusted.size() - begin)),
                std::span(block_maxima_).subspan(block, 1));
  }
  return BlockMaxima(block_maxima_, std::span(block_scratch_).first(Blocks(block_maxima_.size())));
}

TokenId Sampler::Draw(std::span<const float> logits, float highest, const SamplingOptions& options,
                      const DrawState& state) {
  if (options.temperature < kGreedy) return Best(logits, block_maxima_, highest);
  const double uniform = UniformDraw(options.seed, state.index, state.answer);
  const float inverse = 1.0F / options.temperature;
  const bool some = options.top_k > 0 && options.top_k < static_cast<int>(logits.size());
  if (some || options.min_p > 0) {
    // The share of the highest probability is a distance from the highest logit.
    const float least = highest + options.temperature * std::log(options.min_p);
    Collect(logits, some ? std::max(least, ReachedBy(options.top_k)) : least);
    if (some) KeepTopK(options.top_k);
    const double total = WeighCandidates(highest, inverse);
    if (options.top_p < 1) KeepNucleus(total * options.top_p, kAll);
    return DrawFromCandidates(uniform);
  }
  const double total = SoftmaxWeights(logits, highest, inverse, weights_, block_scratch_);
  if (options.top_p >= 1) return DrawFromAll(weights_, total * uniform);
  CollectNucleus(weights_, total * options.top_p);
  return DrawFromCandidates(uniform);
}

SampledLogprob Sampler::Logprob(std::span<const float> logits, TokenId token, int top) {
  const Highest highest = BlockMaxima(logits, block_maxima_);
  const double total = SoftmaxWeights(logits, highest.value, 1.0F, weights_, block_scratch_);
  const double normaliser = highest.value + std::log(total);
  const auto told = [&](TokenId id, float logit) {
    return TokenLogprob{id, static_cast<float>(logit - normaliser), {}};
  };
  SampledLogprob result{told(token, logits[token]), {}};
  if (top < 1) return result;
  Collect(logits, ReachedBy(top));
  KeepTopK(top);
  std::sort(candidates().begin(), candidates().end(), Before);
  result.top.reserve(kept_);
  for (const Candidate& candidate : candidates()) {
    if (std::isfinite(candidate.weight)) {
      result.top.push_back(told(candidate.token, candidate.weight));
    }
  }
  return result;
}

std::span<const float> Sampler::Adjust(std::span<float> logits, const SamplingOptions& options,
                                       const DrawState& state) {
  changed_.clear();
  if (!state.allowed.empty()) {
    std::copy(logits.begin(), logits.end(), weights_.begin());
    logits = weights_;
  }
  for (const LogitBias& entry : options.logit_bias) {
    changed_.push_back({logits[entry.token], entry.token});
    logits[entry.token] += entry.bias;
  }
  if (Penalises(options) && state.counts != nullptr) Penalise(logits, options, *state.counts);
  for (const TokenId token : state.forbidden) {
    changed_.push_back({logits[token], token});
    logits[token] = kNever;
  }
  if (!state.allowed.empty()) RuleOut(state.allowed, logits);
  return logits;
}

void Sampler::Penalise(std::span<float> logits, const SamplingOptions& options,
                       const TokenCounts& counts) {
  const float repeated = options.repetition_penalty;
  const float shrunk = 1.0F / repeated;
  for (const TokenCounts::Entry& entry : counts.entries()) {
    float& logit = logits[entry.token];
    changed_.push_back({logit, entry.token});
    logit *= logit > 0 ? shrunk : repeated;
    if (entry.said == 0) continue;
    logit -= options.presence_penalty + options.frequency_penalty * static_cast<float>(entry.said);
  }
}

void Sampler::PutBack(std::span<float> logits) {
  // From the last on: a token may have changed more than once.
  for (auto entry = changed_.rbegin(); entry != changed_.rend(); ++entry) {
    logits[entry->token] = entry->weight;
  }
}

float Sampler::ReachedBy(int k) {
  // The k-th highest block maximum is at most the k-th highest logit: few others reach it.
  if (static_cast<std::size_t>(k) > block_maxima_.size()) return kNever;
  std::copy(block_maxima_.begin(), block_maxima_.end(), block_scratch_.begin());
  const auto last = block_scratch_.begin() + (k - 1);
  std::nth_element(block_scratch_.begin(), last, block_scratch_.end(), std::greater<>());
  return *last;
}

void Sampler::Collect(std::span<const float> values, float threshold) {
  // Without a branch per token: whether one is kept cannot be guessed.
  Candidate* const out = candidates_.data();
  std::size_t kept = 0;
  for (std::size_t block = 0; block < block_maxima_.size(); ++block) {
    if (block_maxima_[block] < threshold) continue;
    const std::size_t end = std::min((block + 1) * kBlock, values.size());
    for (std::size_t token = block * kBlock; token < end; ++token) {
      out[kept] = {values[token], static_cast<TokenId>(token)};
      kept += values[token] >= threshold ? 1 : 0;
    }
  }
  kept_ = kept;
}

void Sampler::KeepTopK(int k) {
  if (kept_ <= static_cast<std::size_t>(k)) return;
  selection_.assign(candidates().begin(), candidates().end());
  const auto last = selection_.begin() + (k - 1);
  std::nth_element(selection_.begin(), last, selection_.end(), Before);
  DropAfter(*last);
}

double Sampler::WeighCandidates(float highest, float inverse_temperature) {
  const std::span<float> weights = std::span(weights_).first(kept_);
  for (std::size_t i = 0; i < kept_; ++i) weights[i] = candidates_[i].weight;
  const std::span<float> sums = std::span(block_scratch_).first(Blocks(kept_));
  const double total = SoftmaxWeights(weights, highest, inverse_temperature, weights, sums);
  for (std::size_t i = 0; i < kept_; ++i) candidates_[i].weight = weights[i];
  return total;
}

void Sampler::CollectNucleus(std::span<const float> weights, double mass) {
  // The lightest of the nucleus weighs from `low` to `high`: first by orders of magnitude, most
  // nuclei being a handful of tokens, then by bisection until few can lie between the two.
  constexpr int kBisections = 5;
  BlockMaxima(weights, block_maxima_);
  float high = kAll;
  float low = 0;
  for (const float level : {0x1p-2F, 0x1p-5F, 0x1p-9F, 0x1p-14F}) {
    if (MassReaching(weights, block_maxima_, level) >= mass) {
      low = level;
      break;
    }
    high = level;
  }
  for (int i = 0; i < kBisections && low > 0; ++i) {
    const float middle = std::sqrt(low * std::min(high, 1.0F));
    (MassReaching(weights, block_maxima_, middle) >= mass ? low : high) = middle;
  }
  Collect(weights, low);
  KeepNucleus(mass, high);
}

void Sampler::KeepNucleus(double mass, float sure) {
  selection_.clear();
  double kept = 0;
  for (const Candidate& candidate : candidates()) {
    if (candidate.weight >= sure) {
      kept += candidate.weight;
    } else {
      selection_.push_back(candidate);
    }
  }
  if (selection_.empty()) return;
  // Halves the part that holds the lightest one until it is short enough to be sorted.
  constexpr std::ptrdiff_t kShort = 32;
  auto begin = selection_.begin();
  auto end = selection_.end();
  while (end - begin > kShort) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, Before);
    double half = 0;
    for (auto heavier = begin; heavier != middle; ++heavier) half += heavier->weight;
    if (kept + half >= mass) {
      end = middle;
    } else {
      kept += half;
      begin = middle;
    }
  }
  std::sort(begin, end, Before);
  while (begin + 1 != end && kept + begin->weight < mass) kept += (begin++)->weight;
  DropAfter(*begin);
}

void Sampler::DropAfter(const Candidate& last) {
  std::size_t kept = 0;
  for (const Candidate& candidate : candidates()) {
    candidates_[kept] = candidate;
    kept += Before(last, candidate) ? 0 : 1;
  }
  kept_ = kept;
}

TokenId Sampler::DrawFromCandidates(double uniform) {
  double total = 0;
  for (const Candidate& candidate : candidates()) total += candidate.weight;
  double left = total * uniform;
  TokenId drawn = 0;
  for (const Candidate& candidate : candidates()) {
    if (candidate.weight <= 0) continue;
    drawn = candidate.token;
    left -= candidate.weight;
    if (left < 0) break;  // Rounding may leave a last bit: then the last one is drawn.
  }
  return drawn;
}

TokenId Sampler::DrawFromAll(std::span<const float> weights, double left) const {
  std::size_t drawn_from = 0;
  for (std::size_t block = 0; block < block_scratch_.size(); ++block) {
    if (block_scratch_[block] <= 0) continue;
    drawn_from = block;
    if (left < block_scratch_[block]) break;
    left -= block_scratch_[block];
  }
  const std::size_t end = std::min((drawn_from + 1) * kBlock, weights.size());
  TokenId drawn = 0;
  for (std::size_t token = drawn_from * kBlock; token < end; ++token) {
    if (weights[token] <= 0) continue;
    drawn = static_cast<TokenId>(token);
    left -= weights[token];
    if (left < 0) break;
  }
  return drawn;
}

bool Sampler::Before(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

}  // namespace llmrouter
