#pragma once

#include <cstddef>
#include <span>

namespace llmrouter {

/// Values per block of `BlockMaxima`.
inline constexpr std::size_t kBlock = 64;

/// The highest value and whether any is NaN.
struct Highest {
  float value;
  bool has_nan;
};

/// Finds the highest of `values`, -infinity when there are none.
Highest FindHighest(std::span<const float> values);

/// Finds the first of `values` that equals `wanted`; their number when none does.
std::size_t FindFirst(std::span<const float> values, float wanted);

/// Writes the maximum of each block of kBlock values to `maxima`, [ceil(values / kBlock)].
void BlockMaxima(std::span<const float> values, std::span<float> maxima);

/// Writes exp((logit - highest) * inverse_temperature) to `weights` and returns their sum.
double SoftmaxWeights(std::span<const float> logits, float highest, float inverse_temperature,
                      std::span<float> weights);

}  // namespace llmrouter
