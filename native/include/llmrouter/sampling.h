#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "llmrouter/error.h"
#include "llmrouter/request.h"
#include "llmrouter/token_counts.h"

namespace llmrouter {

struct Highest;

/// A number in [0, 1) that depends on its arguments alone (Philox4x32-10, Salmon et al. 2011).
double UniformDraw(std::uint64_t seed, std::uint64_t index, std::uint32_t answer = 0);

/// Where in its answer a draw stands.
struct DrawState {
  /// Index of the token in its answer, and of the answer in its request: with the seed, what the
  /// random number depends on.
  std::uint64_t index = 0;
  std::uint32_t answer = 0;
  /// What penalties look at; may be null where none is set.
  const TokenCounts* counts = nullptr;
  /// Tokens that may not be drawn now.
  std::span<const TokenId> forbidden;
  /// The only ones that may, as in `constraint.h`; empty where all may.
  std::span<const std::uint32_t> allowed;
  /// The highest of each block of the logits as computed (`Segment::maxima`); empty where nobody
  /// noted them.
  std::span<const float> maxima;
};

/// Draws tokens from logits. Holds scratch memory for one vocabulary, so that drawing does not
/// allocate; used from one thread.
///
/// The options apply in the order that vLLM documents for its sampler (vllm.v1.sample.sampler):
///   1. log probabilities are those of the logits as computed;
///   2. forbidden tokens and those outside of the grammar, then logit_bias;
///   3. repetition_penalty (CTRL, Keskar et al. 2019, over prompt and answer; a logit below 0 is
///      multiplied, as everyone does since, so that a penalty always makes a token less likely);
///   4. frequency_penalty and presence_penalty (the OpenAI API's, over the answer alone);
///   5. temperature; at 0 the highest logit is taken;
///   6. min_p, as a share of the highest probability at this temperature;
///   7. top_k of what is left, then top_p of their probability mass.
class Sampler {
 public:
  explicit Sampler(int vocabulary);

  /// Draws one token. Greedy ties go to the lowest id. Fails when a logit is NaN or +infinity, when
  /// all are -infinity, or when the options make them so. The logits change meanwhile, and are left
  /// as they were.
  Result<TokenId> Sample(std::span<float> logits, const SamplingOptions& options,
                         const DrawState& state);

  /// What `look` says of the logits that the temperature would apply to.
  template <typename Look>
  auto LookAtAdjusted(std::span<float> logits, const SamplingOptions& options,
                      const DrawState& state, Look look) {
    const auto seen = look(Adjust(logits, options, state));
    PutBack(logits);
    return seen;
  }

  /// The log probability of a token, and of the `top` most likely ones in order; fewer where the
  /// others have none. For logits that `Sample` has accepted; the bytes stay empty.
  SampledLogprob Logprob(std::span<const float> logits, TokenId token, int top);

 private:
  struct Candidate {
    float weight;
    TokenId token;
  };

  /// Most likely first, ties by id.
  static bool Before(const Candidate& a, const Candidate& b);

  /// Applies what comes before the temperature and returns the logits to draw from: the same
  /// memory, noting what to put back, as few change; weights_ where a grammar rules most of them
  /// out.
  std::span<const float> Adjust(std::span<float> logits, const SamplingOptions& options,
                                const DrawState& state);
  void Penalise(std::span<float> logits, const SamplingOptions& options, const TokenCounts& counts);
  /// Undoes `Adjust`.
  void PutBack(std::span<float> logits);
  /// Fills in block_maxima_ for what `Adjust` returned, from those of the logits as computed where
  /// few have changed since, and returns the highest of all.
  Highest FindMaxima(std::span<const float> adjusted, const DrawState& state);
  TokenId Draw(std::span<const float> logits, float highest, const SamplingOptions& options,
               const DrawState& state);
  /// A value that the k highest reach, and few others.
  float ReachedBy(int k);
  /// Makes candidates_ the tokens whose values reach `threshold`, in order of their ids. Looks only
  /// where block_maxima_ does.
  void Collect(std::span<const float> values, float threshold);
  /// Shortens candidates_ to the k first of them.
  void KeepTopK(int k);
  /// Turns the candidates' logits into softmax weights and returns their sum.
  double WeighCandidates(float highest, float inverse_temperature);
  /// Makes candidates_ the fewest tokens that make up `mass`.
  void CollectNucleus(std::span<const float> weights, double mass);
  /// Shortens candidates_ to the fewest that make up `mass`, which those of at least `sure` do not.
  void KeepNucleus(double mass, float sure);
  /// Drops the candidates that come after `last`.
  void DropAfter(const Candidate& last);
  std::span<Candidate> candidates() { return std::span(candidates_).first(kept_); }
  TokenId DrawFromCandidates(double uniform);
  TokenId DrawFromAll(std::span<const float> weights, double left) const;

  /// By token: logits under a grammar, then exp((logit - highest) / temperature).
  std::vector<float> weights_;
  /// Logits before their changes, in the order of these.
  std::vector<Candidate> changed_;
  /// By block of kBlock tokens.
  std::vector<float> block_maxima_;
  std::vector<float> block_scratch_;
  /// The first kept_, in order of their ids.
  std::vector<Candidate> candidates_;
  std::size_t kept_ = 0;
  std::vector<Candidate> selection_;
};

}  // namespace llmrouter
