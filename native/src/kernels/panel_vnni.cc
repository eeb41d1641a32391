// The same arithmetic as panel_portable.cc, sixteen columns to a register, with the instruction
// that multiplies bytes and sums four products at once.

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>
#include <utility>

#include "kernels/panel.h"
#include "kernels/panel_tiles.h"

#define LLMROUTER_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define LLMROUTER_VNNI_INLINE \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), always_inline)) inline

namespace llmrouter::kernels {
namespace {

/// Rows that share the loading of a weight: their sums and results fill 24 of 32 registers.
constexpr int kMostRows = 12;

LLMROUTER_VNNI_INLINE __m512i Broadcast(const std::int8_t* quad) {
  std::int32_t four;
  std::memcpy(&four, quad, sizeof(four));
  return _mm512_set1_epi32(four);
}

/// The exact sums of a block, int32 per column. The instruction wants one unsigned factor, so that
/// weights of 8 bits are 128 more than they are stored; what that makes too much is taken away.
template <int kRows, int kBits>
LLMROUTER_VNNI_INLINE void Block(const std::uint8_t* weights, const TileRows& rows,
                                 __m512i (&sums)[kRows]) {
  if constexpr (kBits == 8) {
    for (int row = 0; row < kRows; ++row) sums[row] = _mm512_set1_epi32(-128 * rows.sums[row]);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (int quad = 0; quad < kQuads; ++quad) {
      const __m512i w = _mm512_xor_si512(_mm512_loadu_si512(weights + quad * kQuadBytes), sign);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const std::int8_t* a = rows.values + row * kBlock + quad * kQuad;
        sums[row] = _mm512_dpbusd_epi32(sums[row], w, Broadcast(a));
      }
    }
  } else {
    for (auto& sum : sums) sum = _mm512_setzero_si512();
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int pair = 0; pair < kQuads / 2; ++pair) {
      const __m512i both = _mm512_loadu_si512(weights + pair * kQuadBytes);
      const __m512i first = _mm512_and_si512(both, low);
      const __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const std::int8_t* a = rows.values + row * kBlock + pair * 2 * kQuad;
        sums[row] = _mm512_dpbusd_epi32(sums[row], first, Broadcast(a));
        sums[row] = _mm512_dpbusd_epi32(sums[row], second, Broadcast(a + kQuad));
      }
    }
  }
}

template <int kRows, int kBits, bool kCorrected>
LLMROUTER_VNNI void Tile(const TileRows& first, const std::uint8_t* block, int blocks,
                         const TileTarget& target) {
  TileRows rows = first;
  __m512 results[kRows];
#pragma GCC unroll 16
  for (auto& result : results) result = _mm512_setzero_ps();
  for (int b = 0; b < blocks; ++b) {
    __m512i sums[kRows];
    Block<kRows, kBits>(block, rows, sums);
    const __m512 scale = _mm512_loadu_ps(block + WeightBytes(kBits));
    __m512 zero;
    if constexpr (kCorrected) {
      const auto* bytes =
          reinterpret_cast<const __m128i*>(block + WeightBytes(kBits) + kScaleBytes);
      zero = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes)));
    }
    for (int row = 0; row < kRows; ++row) {
      __m512 sum = _mm512_cvtepi32_ps(sums[row]);
      if constexpr (kCorrected) {
        // Whole numbers, whose products are exact.
        const __m512 all = _mm512_set1_ps(static_cast<float>(rows.sums[row]));
        sum = _mm512_fnmadd_ps(zero, all, sum);
      }
      const __m512 both = _mm512_mul_ps(_mm512_set1_ps(rows.scales[row]), scale);
      results[row] = _mm512_fmadd_ps(sum, both, results[row]);
    }
    block += BlockBytes(kBits, kCorrected);
    rows.Advance();
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) _mm512_storeu_ps(target.Row(row), results[row]);
}

template <int kBits, bool kCorrected, std::size_t... kLess>
constexpr TileFunctions<kMostRows> TilesUpTo(std::index_sequence<kLess...>) {
  return {Tile<static_cast<int>(kLess) + 1, kBits, kCorrected>...};
}

template <int kBits, bool kCorrected>
constexpr TileFunctions<kMostRows> kTiles =
    TilesUpTo<kBits, kCorrected>(std::make_index_sequence<kMostRows>{});

const TileFunctions<kMostRows>& TilesOf(const PackedMatrix& matrix) {
  if (matrix.shape().bits == 4) return kTiles<4, true>;
  return matrix.Corrected() ? kTiles<8, true> : kTiles<8, false>;
}

}  // namespace

void MultiplyPanelVnni(const QuantisedRows& rows, const PackedMatrix& matrix, int panel,
                       float* target, std::size_t stride, int columns) {
  MultiplyInTiles(TilesOf(matrix), rows, matrix, panel, target, stride, columns);
}

}  // namespace llmrouter::kernels

#endif
