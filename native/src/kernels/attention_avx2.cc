// Attention with eight values to a register. Queries are computed three at a time, which share the
// loading of keys and values: in groups of query heads that share a head of the cache, and in
// prompts, that makes it a matter of arithmetic rather than of memory.

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "kernels/attention_paths.h"

#define LLMROUTER_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LLMROUTER_AVX2_INLINE __attribute__((target("avx2,fma,f16c"), always_inline)) inline

namespace llmrouter::kernels {
namespace {

constexpr int kWide = 8;
/// Queries and positions whose products are summed at once: with three queries and a key they fill
/// 16 registers.
constexpr int kMostQueries = 3;
constexpr int kPositions = 4;
/// Positions from that whose keys or values are asked for to that whose are used. The cache lies in
/// small pages, at whose ends the processor's own foresight ends.
constexpr int kAhead = 16;

LLMROUTER_AVX2_INLINE __m256 Load(const float* numbers) { return _mm256_loadu_ps(numbers); }

LLMROUTER_AVX2_INLINE __m256 Load(const std::uint16_t* numbers) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers)));
}

/// Asks for memory that is read soon; beyond what is there it asks for nothing.
template <typename Number>
LLMROUTER_AVX2_INLINE void Prefetch(const Number* begin, std::ptrdiff_t count) {
  constexpr std::size_t kLine = 64;
  const auto* at = reinterpret_cast<const char*>(begin);
  const auto* end = reinterpret_cast<const char*>(begin + count);
  for (; at < end; at += kLine) _mm_prefetch(at, _MM_HINT_T0);
}

/// exp(x) for x <= 0, 0 below -87, NaN for NaN (range reduction after Cephes' expf).
LLMROUTER_AVX2_INLINE __m256 Exp(__m256 x) {
  const __m256 lowest = _mm256_set1_ps(-87.0F);
  const __m256 clamped = _mm256_max_ps(lowest, x);  // In this order NaN stays NaN.
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, _mm256_set1_ps(1.44269504088896341F)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375F), clamped);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4F), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4F);
  for (const float term :
       {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F}) {
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(term));
  }
  p = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r), _mm256_set1_ps(1.0F));
  const __m256i exponent =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  const __m256 result = _mm256_mul_ps(p, _mm256_castsi256_ps(exponent));
  return _mm256_andnot_ps(_mm256_cmp_ps(x, lowest, _CMP_LT_OQ), result);
}

/// Sums of four registers, each in the same order.
LLMROUTER_AVX2_INLINE __m128 Sums(const __m256 (&sums)[kPositions]) {
  const __m256 pairs =
      _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

/// Products of the queries with four keys; `scores` is [queries, stride].
template <int kQueries, typename Number>
LLMROUTER_AVX2_INLINE void Score(const Query* queries,
                                 const std::array<const Number*, kPositions>& keys, int head_size,
                                 float* scores, std::size_t stride) {
  __m256 sums[kQueries][kPositions];
  for (auto& query : sums) {
    for (auto& sum : query) sum = _mm256_setzero_ps();
  }
#pragma GCC unroll 1
  for (int at = 0; at < head_size; at += kWide) {
    __m256 q[kQueries];
    for (int i = 0; i < kQueries; ++i) q[i] = _mm256_loadu_ps(queries[i].query + at);
    for (int position = 0; position < kPositions; ++position) {
      const __m256 key = Load(keys[position] + at);
      for (int i = 0; i < kQueries; ++i) {
        sums[i][position] = _mm256_fmadd_ps(q[i], key, sums[i][position]);
      }
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    _mm_storeu_ps(scores + static_cast<std::size_t>(i) * stride, Sums(sums[i]));
  }
}

/// Turns the first `count` scores into weights and returns their sum. Scores up to the next
/// multiple of eight are overwritten.
LLMROUTER_AVX2 float Weigh(float* scores, int count) {
  const int wide = (count + kWide - 1) / kWide * kWide;
  std::fill(scores + count, scores + wide, -std::numeric_limits<float>::infinity());
  __m256 maxima = _mm256_loadu_ps(scores);
  for (int at = kWide; at < wide; at += kWide) {
    maxima = _mm256_max_ps(maxima, _mm256_loadu_ps(scores + at));
  }
  std::array<float, kWide> lanes;
  _mm256_storeu_ps(lanes.data(), maxima);
  const __m256 highest = _mm256_set1_ps(*std::max_element(lanes.begin(), lanes.end()));
  __m256 total = _mm256_setzero_ps();
  for (int at = 0; at < wide; at += kWide) {
    const __m256 weights = Exp(_mm256_sub_ps(_mm256_loadu_ps(scores + at), highest));
    _mm256_storeu_ps(scores + at, weights);
    total = _mm256_add_ps(total, weights);
  }
  _mm256_storeu_ps(lanes.data(), total);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/// Adds the weighted values of the positions first..last-1 to the results, in registers of eight
/// from value `at` on.
template <int kQueries, int kRegisters, typename Number>
LLMROUTER_AVX2_INLINE void Add(const Query* queries, const float* weights, std::size_t stride,
                               const Number* values, int head_size, int at, int first, int last) {
  __m256 sums[kQueries][kRegisters];
  for (int i = 0; i < kQueries; ++i) {
    for (int r = 0; r < kRegisters; ++r) {
      sums[i][r] = _mm256_loadu_ps(queries[i].result + at + r * kWide);
    }
  }
#pragma GCC unroll 1
  for (int position = first; position < last; ++position) {
    const Number* value = values + static_cast<std::ptrdiff_t>(position) * head_size + at;
    if (position + kAhead < last) Prefetch(value + kAhead * head_size, kRegisters * kWide);
    __m256 w[kQueries];
    for (int i = 0; i < kQueries; ++i) {
      w[i] = _mm256_broadcast_ss(weights + static_cast<std::size_t>(i) * stride + position);
    }
    for (int r = 0; r < kRegisters; ++r) {
      const __m256 v = Load(value + r * kWide);
      for (int i = 0; i < kQueries; ++i) sums[i][r] = _mm256_fmadd_ps(w[i], v, sums[i][r]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int r = 0; r < kRegisters; ++r) {
      _mm256_storeu_ps(queries[i].result + at + r * kWide, sums[i][r]);
    }
  }
}

template <int kQueries, typename Number>
LLMROUTER_AVX2 void AddAll(const Query* queries, const float* weights, std::size_t stride,
                           const Number* values, int head_size, int first, int last) {
  if (first >= last) return;
  int at = 0;
  for (; at + 4 * kWide <= head_size; at += 4 * kWide) {
    Add<kQueries, 4>(queries, weights, stride, values, head_size, at, first, last);
  }
  for (; at < head_size; at += kWide) {
    Add<kQueries, 1>(queries, weights, stride, values, head_size, at, first, last);
  }
}

template <int kQueries, typename Number>
LLMROUTER_AVX2 void AttendBlock(const Query* queries, const Number* keys, const Number* values,
                                int head_size, std::vector<float>* scratch) {
  int most = 0;
  int least = std::numeric_limits<int>::max();
  for (int i = 0; i < kQueries; ++i) {
    most = std::max(most, queries[i].visible);
    least = std::min(least, queries[i].visible);
  }
  const auto stride = static_cast<std::size_t>((most + kWide - 1) / kWide * kWide);
  if (scratch->size() < kQueries * stride) scratch->resize(kQueries * stride);
  float* scores = scratch->data();
  for (int position = 0; position < most; position += kPositions) {
    const int soon = std::min(kPositions, most - position - kAhead);
    Prefetch(keys + static_cast<std::ptrdiff_t>(position + kAhead) * head_size,
             std::ptrdiff_t{soon} * head_size);
    std::array<const Number*, kPositions> four;
    for (int i = 0; i < kPositions; ++i) {
      // Behind the last position it stands in for those that are not there.
      four[i] = keys + static_cast<std::ptrdiff_t>(std::min(position + i, most - 1)) * head_size;
    }
    Score<kQueries>(queries, four, head_size, scores + position, stride);
  }
  Prefetch(values, std::ptrdiff_t{std::min(kAhead, most)} * head_size);
  std::array<float, kQueries> totals;
  for (int i = 0; i < kQueries; ++i) {
    totals[i] = Weigh(scores + static_cast<std::size_t>(i) * stride, queries[i].visible);
    std::fill_n(queries[i].result, head_size, 0.0F);
  }
  AddAll<kQueries>(queries, scores, stride, values, head_size, 0, least);
  for (int i = 0; i < kQueries; ++i) {
    // Not with a weight of 0: what lies behind a query's last position may be no number.
    AddAll<1>(queries + i, scores + static_cast<std::size_t>(i) * stride, stride, values, head_size,
              least, queries[i].visible);
    const __m256 inverse = _mm256_set1_ps(1.0F / totals[i]);
    for (int at = 0; at < head_size; at += kWide) {
      float* result = queries[i].result + at;
      _mm256_storeu_ps(result, _mm256_mul_ps(_mm256_loadu_ps(result), inverse));
    }
  }
}

template <typename Number>
void AttendBlocks(std::span<const Query> queries, const Number* keys, const Number* values,
                  int head_size, std::vector<float>* scratch) {
  while (queries.size() >= kMostQueries) {
    AttendBlock<kMostQueries>(queries.data(), keys, values, head_size, scratch);
    queries = queries.subspan(kMostQueries);
  }
  if (queries.size() == 2) AttendBlock<2>(queries.data(), keys, values, head_size, scratch);
  if (queries.size() == 1) AttendBlock<1>(queries.data(), keys, values, head_size, scratch);
}

}  // namespace

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
