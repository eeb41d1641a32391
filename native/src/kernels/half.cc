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

LLMROUTER_WIDE void WidenBfloat16(std::span<const std::uint16_t> numbers, std::span<float> out) {
  const std::uint16_t* in = numbers.data();
  float* to = out.data();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    to[i] = std::bit_cast<float>(static_cast<std::uint32_t>(in[i]) << 16);
  }
}

}  // namespace llmrouter::kernels
