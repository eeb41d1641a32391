#pragma once

#include <bit>
#include <cstdint>

// One build for every x86-64, with the wide registers where the machine has them. Sanitizers
// cannot run before the resolvers of such functions.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LLMROUTER_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LLMROUTER_WIDE
#endif

namespace llmrouter {

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

}  // namespace llmrouter
