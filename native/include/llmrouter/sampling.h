#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "llmrouter/error.h"
#include "llmrouter/request.h"

namespace llmrouter {

/// A number in [0, 1) that depends on its two arguments alone (Philox4x32-10, Salmon et al. 2011).
double UniformDraw(std::uint64_t seed, std::uint64_t index);

/// Draws tokens from logits. Holds scratch memory for one vocabulary, so that drawing does not
/// allocate; used from one thread.
class Sampler {
 public:
  explicit Sampler(int vocabulary);

  /// Draws the token with this index in its sequence. Greedy ties go to the lowest id. Fails when
  /// a logit is NaN or +infinity, or when all are -infinity.
  Result<TokenId> Sample(std::span<const float> logits, const SamplingOptions& options,
                         std::uint64_t index);

 private:
  struct Candidate {
    float weight;
    TokenId token;
  };

  /// Most likely first, ties by id.
  static bool Before(const Candidate& a, const Candidate& b);
  static TokenId DrawFromAll(std::span<const float> weights, double left);

  /// Makes candidates_ the k most likely tokens, in order, weighing their logits.
  void KeepTopK(std::span<const float> logits, int k);
  /// Turns the candidates' logits into softmax weights and returns their sum.
  double WeighCandidates(float highest, float inverse_temperature);
  /// Makes candidates_ the heaviest tokens, in order: at least those that make up `mass`.
  void KeepHeaviest(std::span<const float> weights, double mass);
  /// Shortens candidates_ to the smallest beginning that makes up `mass`.
  void CutNucleus(double mass);
  TokenId DrawFromCandidates(double uniform) const;

  /// exp((logit - highest) / temperature) per token.
  std::vector<float> weights_;
  std::vector<float> block_maxima_;
  std::vector<Candidate> candidates_;
};

}  // namespace llmrouter
