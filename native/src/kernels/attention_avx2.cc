// Attention with eight values to a register.

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/attention_paths.h"

#define LLMROUTER_ATTENTION __attribute__((target("avx2,fma,f16c")))
#define LLMROUTER_ATTENTION_INLINE __attribute__((target("avx2,fma,f16c"), always_inline)) inline

namespace llmrouter::kernels {
namespace {

using Vector = __m256;
constexpr int kWide = 8;
/// With four positions, whose products are summed at once, and a key they fill 16 registers.
constexpr int kMostQueries = 3;
constexpr int kPositions = 4;

LLMROUTER_ATTENTION_INLINE Vector Load(const float* numbers) { return _mm256_loadu_ps(numbers); }

LLMROUTER_ATTENTION_INLINE Vector Load(const std::uint16_t* numbers) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers)));
}

LLMROUTER_ATTENTION_INLINE void Store(float* numbers, Vector x) { _mm256_storeu_ps(numbers, x); }
LLMROUTER_ATTENTION_INLINE Vector All(float x) { return _mm256_set1_ps(x); }
LLMROUTER_ATTENTION_INLINE Vector Max(Vector a, Vector b) { return _mm256_max_ps(a, b); }

/// a * b + c
LLMROUTER_ATTENTION_INLINE Vector Fma(Vector a, Vector b, Vector c) {
  return _mm256_fmadd_ps(a, b, c);
}

LLMROUTER_ATTENTION_INLINE Vector Round(Vector x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/// 2 to the power of whole numbers.
LLMROUTER_ATTENTION_INLINE Vector PowerOfTwo(Vector n) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

/// `result`, but 0 where x < lowest.
LLMROUTER_ATTENTION_INLINE Vector ZeroBelow(Vector x, Vector lowest, Vector result) {
  return _mm256_andnot_ps(_mm256_cmp_ps(x, lowest, _CMP_LT_OQ), result);
}

LLMROUTER_ATTENTION_INLINE std::array<float, kWide> Lanes(Vector x) {
  std::array<float, kWide> lanes;
  _mm256_storeu_ps(lanes.data(), x);
  return lanes;
}

LLMROUTER_ATTENTION_INLINE float Highest(Vector x) {
  const std::array<float, kWide> lanes = Lanes(x);
  return *std::max_element(lanes.begin(), lanes.end());
}

LLMROUTER_ATTENTION_INLINE float Sum(Vector x) {
  const std::array<float, kWide> lanes = Lanes(x);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/// Sums of four registers, each in the same order.
LLMROUTER_ATTENTION_INLINE __m128 Sums(const Vector (&sums)[kPositions]) {
  const __m256 pairs =
      _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

}  // namespace
}  // namespace llmrouter::kernels

#include "kernels/attention_blocks.h"

namespace llmrouter::kernels {

void AttendAvx2(std::span<const Query> queries, const float* keys, const float* values,
                int head_size, std::vector<float>* scratch) {
  AttendBlocks(queries, keys, values, head_size, scratch);
}

void AttendAvx2(std::span<const Query> queries, const std::uint16_t* keys,
                const std::uint16_t* values, int head_size, std::vector<float>* scratch) {
  AttendBlocks(queries, keys, values, head_size, scratch);
}

}  // namespace llmrouter::kernels

#endif
