#include "kernels/layer_math.h"

#include <cmath>
#include <cstring>

#include "wide.h"

namespace llmrouter::kernels {
namespace {

/// Running sums side by side; their order is the same on every machine.
constexpr std::size_t kLanes = 8;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

}  // namespace

LLMROUTER_WIDE void AddNorm(const float* a, const float* b, const float* gain, std::size_t width,
                            float epsilon, float* sum, float* normed) {
  Lanes lanes = {};
  std::size_t at = 0;
  for (; at + kLanes <= width; at += kLanes) {
    Lanes one;
    Lanes other;
    std::memcpy(&one, a + at, sizeof(one));
    std::memcpy(&other, b + at, sizeof(other));
    one += other;
    std::memcpy(sum + at, &one, sizeof(one));
    lanes += one * one;
  }
  for (; at < width; ++at) {
    sum[at] = a[at] + b[at];
    lanes[0] += sum[at] * sum[at];
  }
  const float squares = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                        ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  const float scale = 1.0F / std::sqrt(squares / static_cast<float>(width) + epsilon);
  for (std::size_t i = 0; i < width; ++i) normed[i] = sum[i] * scale * gain[i];
}

LLMROUTER_WIDE void GateBySilu(const float* gate, const float* up, std::size_t size,
                               float* target) {
  for (std::size_t i = 0; i < size; ++i) {
    // Of the magnitude, so that nothing overflows; NaN stays NaN by the product.
    const float fading = ExpNonPositive(-std::fabs(gate[i]));
    const float share = (gate[i] < 0 ? fading : 1.0F) / (1.0F + fading);
    target[i] = gate[i] * share * up[i];
  }
}

}  // namespace llmrouter::kernels
