#include "kernels/half.h"

#include <bit>
#include <cstddef>

#include "wide.h"

namespace llmrouter::kernels {

LLMROUTER_WIDE void WidenFloat16(std::span<const std::uint16_t> numbers, std::span<float> out) {
  // Its exponent has 5 bits and a bias of 15, a float's 8 and 127: the product moves it over and
  // makes subnormal numbers normal.
  constexpr float kBias = 0x1p112F;
  const std::uint16_t* in = numbers.data();
  float* to = out.data();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::uint32_t bits = in[i];
    const std::uint32_t magnitude = bits & 0x7fffU;
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const std::uint32_t finite =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude << 13) * kBias);
    const std::uint32_t endless = 0x7f800000U | (magnitude << 13);
    to[i] = std::bit_cast<float>(sign | (magnitude >= 0x7c00U ? endless : finite));
  }
}

LLMROUTER_WIDE void NarrowFloat16(std::span<const float> numbers, std::span<std::uint16_t> out) {
  constexpr std::uint32_t kLargest = 0x477fe000U;   // 65504, the largest number of 16 bits.
  constexpr std::uint32_t kSmallest = 0x38800000U;  // 2^-14, the smallest that is not subnormal.
  constexpr std::uint32_t kHalf = 0x3f000000U;      // 0.5, whose last place is that of subnormals.
  const float* in = numbers.data();
  std::uint16_t* to = out.data();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(in[i]);
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    const std::uint32_t bounded = magnitude > kLargest ? kLargest : magnitude;
    const std::uint32_t normal = (bounded + 0xc8000fffU + (bounded >> 13 & 1U)) >> 13;
    const std::uint32_t subnormal =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(bounded) + 0.5F) - kHalf;
    std::uint32_t result = bounded < kSmallest ? subnormal : normal;
    result = magnitude > 0x7f800000U ? 0x7e00U : result;
    to[i] = static_cast<std::uint16_t>(result | (bits >> 16 & 0x8000U));
  }
}

LLMROUTER_WIDE void WidenBfloat16(std::span<const std::uint16_t> numbers, std::span<float> out) {
  const std::uint16_t* in = numbers.data();
  float* to = out.data();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    to[i] = std::bit_cast<float>(static_cast<std::uint32_t>(in[i]) << 16);
  }
}

}  // namespace llmrouter::kernels
