#pragma once

// Numbers of 16 bits as floats, exactly.

#include <cstdint>
#include <span>

namespace llmrouter::kernels {

/// IEEE 754 binary16, infinities, NaN and subnormal numbers too.
void WidenFloat16(std::span<const std::uint16_t> numbers, std::span<float> out);

/// The upper half of a float.
void WidenBfloat16(std::span<const std::uint16_t> numbers, std::span<float> out);

}  // namespace llmrouter::kernels
