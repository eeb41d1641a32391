#include "vector_math.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

// One build for every x86-64, with the wide registers where the machine has them. Sanitizers
// cannot run before the resolvers of such functions.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LLMROUTER_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LLMROUTER_WIDE
#endif

namespace llmrouter {
namespace {

/// Running sums side by side.
constexpr std::size_t kLanes = 8;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// The bits of a float as an integer of the same order (NaN aside).
inline std::int32_t OrderedBits(float value) {
  const auto bits = std::bit_cast<std::int32_t>(value);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

/// The bits without the sign: beyond those of infinity for NaN.
inline std::int32_t Magnitude(float value) {
  return std::bit_cast<std::int32_t>(value) & 0x7fffffff;
}

/// exp(x) for x <= 0 within 2 units in the last place; 0 below -87. Plain arithmetic, so that it
/// vectorises and gives the same bits everywhere (range reduction after Cephes' expf).
inline float ExpNonPositive(float x) {
  const float clamped = x < -87.0F ? -87.0F : x;
  const float shifted = clamped * 1.44269504088896341F + 12582912.0F;  // Rounds to an integer.
  const float n = shifted - 12582912.0F;
  const float r = (clamped - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const std::int32_t exponent = (static_cast<std::int32_t>(n) + 127) << 23;
  const float value = p * std::bit_cast<float>(exponent);
  return x < -87.0F ? 0.0F : value;
}

}  // namespace

LLMROUTER_WIDE Highest FindHighest(std::span<const float> values) {
  // Maxima of floats do not vectorise as long as NaN counts; those of integers do.
  const float* data = values.data();
  std::int32_t highest = OrderedBits(kLowest);
  std::int32_t largest_magnitude = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    highest = std::max(highest, OrderedBits(data[i]));
    largest_magnitude = std::max(largest_magnitude, Magnitude(data[i]));
  }
  const bool has_nan = largest_magnitude > Magnitude(kLowest);
  // The order of the bits is its own inverse.
  return {std::bit_cast<float>(OrderedBits(std::bit_cast<float>(highest))), has_nan};
}

LLMROUTER_WIDE std::size_t FindFirst(std::span<const float> values, float wanted) {
  const float* data = values.data();
  std::size_t begin = 0;
  for (; begin + kBlock <= values.size(); begin += kBlock) {
    std::int32_t found = 0;
    for (std::size_t i = begin; i < begin + kBlock; ++i) found |= data[i] == wanted ? 1 : 0;
    if (found != 0) break;
  }
  while (begin < values.size() && data[begin] != wanted) ++begin;
  return begin;
}

void BlockMaxima(std::span<const float> values, std::span<float> maxima) {
  for (std::size_t block = 0; block < maxima.size(); ++block) {
    const std::size_t begin = block * kBlock;
    const std::size_t size = std::min(kBlock, values.size() - begin);
    maxima[block] = FindHighest(values.subspan(begin, size)).value;
  }
}

LLMROUTER_WIDE double SoftmaxWeights(std::span<const float> logits, float highest,
                                     float inverse_temperature, std::span<float> weights) {
  const float* in = logits.data();
  float* out = weights.data();
  const std::size_t size = logits.size();
  for (std::size_t i = 0; i < size; ++i) {
    out[i] = ExpNonPositive((in[i] - highest) * inverse_temperature);
  }
  double sums[kLanes] = {};
  const std::size_t whole = size / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += out[i + lane];
  }
  double sum = 0;
  for (const double lane : sums) sum += lane;
  for (std::size_t i = whole; i < size; ++i) sum += out[i];
  return sum;
}

}  // namespace llmrouter
