#pragma once

// Numbers of 16 bits as floats, exactly, and back.

#include <cstdint>
#include <span>

namespace llmrouter::kernels {

/// IEEE 754 binary16, infinities, NaN and subnormal numbers too.
void WidenFloat16(std::span<const std::uint16_t> numbers, std::span<float> out);

/// The nearest binary16, of two equally near the even one; what is beyond its range becomes its
/// largest, NaN stays NaN.
void NarrowFloat16(std::span<const float> numbers, std::span<std::uint16_t> out);

/// The upper half of a float.
void WidenBfloat16(std::span<const std::uint16_t> numbers, std::span<float> out);

}  // namespace llmrouter::kernels
