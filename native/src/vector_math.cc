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

/// Independent running values per loop: as many as make the compiler use whole registers.
constexpr std::size_t kLanes = 16;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

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
  float highest[kLanes];
  std::int32_t nan[kLanes] = {};
  std::fill_n(highest, kLanes, kLowest);
  const float* data = values.data();
  const std::size_t whole = values.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = data[i + lane];
      highest[lane] = value > highest[lane] ? value : highest[lane];
      nan[lane] |= value != value ? 1 : 0;
    }
  }
  Highest found{kLowest, false};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    found.value = std::max(found.value, highest[lane]);
    found.has_nan |= nan[lane] != 0;
  }
  for (std::size_t i = whole; i < values.size(); ++i) {
    found.value = data[i] > found.value ? data[i] : found.value;
    found.has_nan |= data[i] != data[i];
  }
  return found;
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
