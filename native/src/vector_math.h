#pragma once

#include <cstddef>
#include <span>

namespace llmrouter {

/// Values per block.
inline constexpr std::size_t kBlock = 64;

/// Blocks that hold so many values; the last may be shorter.
inline constexpr std::size_t Blocks(std::size_t values) { return (values + kBlock - 1) / kBlock; }

/// The highest value and whether any is NaN.
struct Highest {
  float value;
  bool has_nan;
};

/// Writes the maximum of each block of `values` to `maxima`, [Blocks(values)], NaN where the block
/// holds one, and returns that of all: -infinity when there are none, any value where one is NaN.
Highest BlockMaxima(std::span<const float> values, std::span<float> maxima);

/// Finds the first of `values` that equals `wanted`; their number when none does.
std::size_t FindFirst(std::span<const float> values, float wanted);

/// Writes exp((logit - highest) * inverse_temperature) to `weights`, the sum of each block to
/// `sums`, [Blocks(logits)], and returns the sum of all. `weights` may be the logits themselves.
double SoftmaxWeights(std::span<const float> logits, float highest, float inverse_temperature,
                      std::span<float> weights, std::span<float> sums);

/// Returns the sum of the weights of at least `threshold`; `maxima` are those of their blocks.
double MassReaching(std::span<const float> weights, std::span<const float> maxima, float threshold);

}  // namespace llmrouter
