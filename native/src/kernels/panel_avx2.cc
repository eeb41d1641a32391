// The same arithmetic as panel_portable.cc, eight columns to a register.

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/panel.h"
#include "kernels/panel_tiles.h"

#define LLMROUTER_AVX2 __attribute__((target("avx2,fma")))
#define LLMROUTER_AVX2_INLINE __attribute__((target("avx2,fma"), always_inline)) inline

namespace llmrouter::kernels {
namespace {

/// Registers of eight columns in a panel.
constexpr int kWide = kPanelColumns / 8;
/// Rows that share the loading of a weight. Sums, activations and weights fill 16 registers.
constexpr int kMostRows = 5;

LLMROUTER_AVX2_INLINE __m256i Broadcast(const std::int8_t* quad) {
  std::int32_t four;
  std::memcpy(&four, quad, sizeof(four));
  return _mm256_set1_epi32(four);
}

/// The exact sums of a block at 8 bits, int32 per column. The instruction wants one unsigned
/// factor: |w| * (a with the sign of w). Two products reach 2 * 128 * 127, just inside 16 bits.
template <int kRows>
LLMROUTER_AVX2_INLINE void Block8(const std::uint8_t* weights, const TileRows& rows,
                                  __m256i (&sums)[kRows][kWide]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm256_setzero_si256();
  }
#pragma GCC unroll 1
  for (int quad = 0; quad < kQuads; ++quad) {
    __m256i a[kRows];
    for (int row = 0; row < kRows; ++row)
      a[row] = Broadcast(rows.values + row * kBlock + quad * kQuad);
    for (int wide = 0; wide < kWide; ++wide) {
      const __m256i w =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights) + quad * kWide + wide);
      const __m256i magnitude = _mm256_abs_epi8(w);
      for (int row = 0; row < kRows; ++row) {
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(a[row], w));
        sums[row][wide] = _mm256_add_epi32(sums[row][wide], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
}

/// The same at 4 bits. Eight pairs of products reach 8 * 2 * 15 * 127: sums of a block stay inside
/// 16 bits and are widened once.
template <int kRows>
LLMROUTER_AVX2_INLINE void Block4(const std::uint8_t* weights, const TileRows& rows,
                                  __m256i (&sums)[kRows][kWide]) {
  const __m256i low = _mm256_set1_epi8(15);
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm256_setzero_si256();
  }
#pragma GCC unroll 1
  for (int pair = 0; pair < kQuads / 2; ++pair) {
    for (int wide = 0; wide < kWide; ++wide) {
      const __m256i both =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights) + pair * kWide + wide);
      const __m256i first = _mm256_and_si256(both, low);
      const __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
      for (int row = 0; row < kRows; ++row) {
        const std::int8_t* a = rows.values + row * kBlock + pair * 2 * kQuad;
        __m256i& sum = sums[row][wide];
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(first, Broadcast(a)));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(second, Broadcast(a + kQuad)));
      }
    }
  }
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
  }
}

template <int kRows, int kBits, bool kCorrected>
LLMROUTER_AVX2 void Tile(const TileRows& first, const std::uint8_t* block, int blocks,
                         const TileTarget& target) {
  TileRows rows = first;
  __m256 results[kRows][kWide];
  for (auto& row : results) {
    for (auto& result : row) result = _mm256_setzero_ps();
  }
  for (int b = 0; b < blocks; ++b) {
    __m256i sums[kRows][kWide];
    if constexpr (kBits == 8) {
      Block8<kRows>(block, rows, sums);
    } else {
      Block4<kRows>(block, rows, sums);
    }
    const auto* scales = reinterpret_cast<const float*>(block + WeightBytes(kBits));
    const std::uint8_t* zeros = block + WeightBytes(kBits) + kScaleBytes;
    for (int wide = 0; wide < kWide; ++wide) {
      const __m256 scale = _mm256_loadu_ps(scales + wide * 8);
      __m256 zero = _mm256_setzero_ps();
      if constexpr (kCorrected) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(zeros + wide * 8));
        zero = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
      }
      for (int row = 0; row < kRows; ++row) {
        __m256 sum = _mm256_cvtepi32_ps(sums[row][wide]);
        if constexpr (kCorrected) {
          sum = _mm256_fnmadd_ps(zero, _mm256_set1_ps(static_cast<float>(rows.sums[row])), sum);
        }
        const __m256 both = _mm256_mul_ps(_mm256_set1_ps(rows.scales[row]), scale);
        results[row][wide] = _mm256_fmadd_ps(sum, both, results[row][wide]);
      }
    }
    block += BlockBytes(kBits, kCorrected);
    rows.Advance();
  }
  for (int row = 0; row < kRows; ++row) {
    for (int wide = 0; wide < kWide; ++wide) {
      _mm256_storeu_ps(target.Row(row) + wide * 8, results[row][wide]);
    }
  }
}

/// Tiles by their rows less one.
template <int kBits, bool kCorrected>
constexpr TileFunctions<kMostRows> kTiles = {Tile<1, kBits, kCorrected>, Tile<2, kBits, kCorrected>,
                                             Tile<3, kBits, kCorrected>, Tile<4, kBits, kCorrected>,
                                             Tile<5, kBits, kCorrected>};

const TileFunctions<kMostRows>& TilesOf(const PackedMatrix& matrix) {
  if (matrix.shape().bits == 4) return kTiles<4, true>;
  return matrix.Corrected() ? kTiles<8, true> : kTiles<8, false>;
}

}  // namespace

void MultiplyPanelAvx2(const QuantisedRows& rows, const PackedMatrix& matrix, int panel,
                       float* target, std::size_t stride, int columns) {
  MultiplyInTiles(TilesOf(matrix), rows, matrix, panel, target, stride, columns);
}

LLMROUTER_AVX2 int QuantiseBlockAvx2(const float* source, std::int8_t* target, float* scale) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256 x[4];
  __m256i bits = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_loadu_ps(source + 8 * i);
    bits = _mm256_max_epu32(bits, _mm256_and_si256(_mm256_castps_si256(x[i]), magnitude));
  }
  __m128i half = _mm_max_epu32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  half = _mm_max_epu32(half, _mm_shuffle_epi32(half, 0x4e));
  half = _mm_max_epu32(half, _mm_shuffle_epi32(half, 0xb1));
  const auto largest = std::bit_cast<float>(_mm_cvtsi128_si32(half));
  if (!(largest >= kSmallest && largest <= std::numeric_limits<float>::max())) {
    return QuantiseBlockPortable(source, target, scale);
  }
  *scale = largest / 127.0F;
  const __m256 inverse = _mm256_set1_ps(127.0F / largest);
  __m256i q[4];
  for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], inverse));
  __m256i sum = _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
  // Packing works on halves of registers; the permutation puts the values in their order.
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(target),
                      _mm256_permutevar8x32_epi32(bytes, order));
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtsi128_si32(four);
}

}  // namespace llmrouter::kernels

#endif
