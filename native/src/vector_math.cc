#include "vector_math.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "wide.h"

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

/// The order of the bits is its own inverse.
inline float FromOrderedBits(std::int32_t ordered) {
  return std::bit_cast<float>(OrderedBits(std::bit_cast<float>(ordered)));
}

/// The bits without the sign: beyond those of infinity for NaN.
inline std::int32_t Magnitude(float value) {
  return std::bit_cast<std::int32_t>(value) & 0x7fffffff;
}

/// Sums the values of one block that reach `threshold`, in an order that is the same on every
/// machine.
inline float BlockSum(const float* values, std::size_t size, float threshold) {
  const auto counted = [=](std::size_t i) { return values[i] >= threshold ? values[i] : 0.0F; };
  float lanes[kLanes] = {};
  if (size == kBlock) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      lanes[i] = ((counted(i) + counted(i + 8)) + (counted(i + 16) + counted(i + 24))) +
                 ((counted(i + 32) + counted(i + 40)) + (counted(i + 48) + counted(i + 56)));
    }
  } else {
    for (std::size_t i = 0; i < size; ++i) lanes[i % kLanes] += counted(i);
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace

LLMROUTER_WIDE Highest BlockMaxima(std::span<const float> values, std::span<float> maxima) {
  // Maxima of floats do not vectorise as long as NaN counts; those of integers do.
  const float* data = values.data();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  std::int32_t highest = OrderedBits(kLowest);
  std::int32_t largest_magnitude = 0;
  for (std::size_t block = 0; block < maxima.size(); ++block) {
    const std::size_t begin = block * kBlock;
    const std::size_t end = std::min(begin + kBlock, values.size());
    std::int32_t block_highest = OrderedBits(kLowest);
    std::int32_t block_magnitude = 0;
    for (std::size_t i = begin; i < end; ++i) {
      block_highest = std::max(block_highest, OrderedBits(data[i]));
      block_magnitude = std::max(block_magnitude, Magnitude(data[i]));
    }
    const bool numbers = block_magnitude <= Magnitude(kLowest);
    maxima[block] = numbers ? FromOrderedBits(block_highest) : kNaN;
    highest = std::max(highest, block_highest);
    largest_magnitude = std::max(largest_magnitude, block_magnitude);
  }
  return {FromOrderedBits(highest), largest_magnitude > Magnitude(kLowest)};
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

LLMROUTER_WIDE double SoftmaxWeights(std::span<const float> logits, float highest,
                                     float inverse_temperature, std::span<float> weights,
                                     std::span<float> sums) {
  const float* in = logits.data();
  float* out = weights.data();
  const std::size_t size = logits.size();
  for (std::size_t i = 0; i < size; ++i) {
    out[i] = ExpNonPositive((in[i] - highest) * inverse_temperature);
  }
  double total = 0;
  for (std::size_t block = 0; block < sums.size(); ++block) {
    const std::size_t begin = block * kBlock;
    sums[block] = BlockSum(out + begin, std::min(kBlock, size - begin), 0.0F);
    total += sums[block];
  }
  return total;
}

LLMROUTER_WIDE double MassReaching(std::span<const float> weights, std::span<const float> maxima,
                                   float threshold) {
  double total = 0;
  for (std::size_t block = 0; block < maxima.size(); ++block) {
    if (maxima[block] < threshold) continue;
    const std::size_t begin = block * kBlock;
    total += BlockSum(weights.data() + begin, std::min(kBlock, weights.size() - begin), threshold);
  }
  return total;
}

}  // namespace llmrouter
