// Attention with sixteen values to a register.

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#include "kernels/attention_paths.h"

#define LLMROUTER_ATTENTION __attribute__((target("avx512f")))
#define LLMROUTER_ATTENTION_INLINE __attribute__((target("avx512f"), always_inline)) inline

namespace llmrouter::kernels {
namespace {

using Vector = __m512;
constexpr int kWide = 16;
/// With four positions, whose products are summed at once, and a key they fill 31
/// of 32 registers.
constexpr int kMostQueries = 6;
constexpr int kPositions = 4;

LLMROUTER_ATTENTION_INLINE Vector Load(const float* numbers) { return _mm512_loadu_ps(numbers); }

LLMROUTER_ATTENTION_INLINE Vector Load(const std::uint16_t* numbers) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers)));
}

LLMROUTER_ATTENTION_INLINE void Store(float* numbers, Vector x) { _mm512_storeu_ps(numbers, x); }
LLMROUTER_ATTENTION_INLINE Vector All(float x) { return _mm512_set1_ps(x); }
LLMROUTER_ATTENTION_INLINE Vector Max(Vector a, Vector b) { return _mm512_max_ps(a, b); }

/// a * b + c
LLMROUTER_ATTENTION_INLINE Vector Fma(Vector a, Vector b, Vector c) {
  return _mm512_fmadd_ps(a, b, c);
}

LLMROUTER_ATTENTION_INLINE Vector Round(Vector x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/// 2 to the power of whole numbers.
LLMROUTER_ATTENTION_INLINE Vector PowerOfTwo(Vector n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

/// `result`, but 0 where x < lowest.
LLMROUTER_ATTENTION_INLINE Vector ZeroBelow(Vector x, Vector lowest, Vector result) {
  return _mm512_mask_mov_ps(result, _mm512_cmp_ps_mask(x, lowest, _CMP_LT_OQ), Vector{});
}

LLMROUTER_ATTENTION_INLINE float Highest(Vector x) { return _mm512_reduce_max_ps(x); }
LLMROUTER_ATTENTION_INLINE float Sum(Vector x) { return _mm512_reduce_add_ps(x); }

/// What two registers hold of each four values, summed: of the first in even places, of the second
/// in odd ones.
LLMROUTER_ATTENTION_INLINE Vector Pairs(Vector a, Vector b) {
  return _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
}

/// Sums of four registers, each in the same order.
LLMROUTER_ATTENTION_INLINE __m128 Sums(const Vector (&sums)[kPositions]) {
  const __m512d first = _mm512_castps_pd(Pairs(sums[0], sums[1]));
  const __m512d second = _mm512_castps_pd(Pairs(sums[2], sums[3]));
  const Vector quarters = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second)) +
                          _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
  const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(quarters), 1));
  const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), upper);
  return _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
}

}  // namespace
}  // namespace llmrouter::kernels

#include "kernels/attention_blocks.h"

namespace llmrouter::kernels {

void AttendAvx512(std::span<const Query> queries, const float* keys, const float* values,
                  int head_size, std::vector<float>* scratch) {
  AttendBlocks(queries, keys, values, head_size, scratch);
}

void AttendAvx512(std::span<const Query> queries, const std::uint16_t* keys,
                  const std::uint16_t* values, int head_size, std::vector<float>* scratch) {
  AttendBlocks(queries, keys, values, head_size, scratch);
}

}  // namespace llmrouter::kernels

#endif
