#pragma once

// The layout of a block of a panel, for whoever packs or reads one:
//   weights      8 bits: [8 quads][16 columns][4 of depth] signed, q - 128
//                4 bits: [4 pairs of quads][16 columns][4 of depth], the first quad of the pair in
//                        the lower half of the byte, the second in the upper
//   scales       [16] float
//   zero points  [16] signed bytes: the zero point less what the weights are already without; only
//                where the matrix is corrected
// A quad is four consecutive values of the depth: 32 bytes hold it for eight columns.

#include <cstddef>
#include <cstdint>

#include "kernels/block_matmul.h"

namespace llmrouter::kernels {

inline constexpr int kQuad = 4;
inline constexpr int kQuads = kBlock / kQuad;
inline constexpr std::size_t kQuadBytes = static_cast<std::size_t>(kPanelColumns) * kQuad;
inline constexpr std::size_t kScaleBytes = kPanelColumns * sizeof(float);

/// Blocks of activations below it count as zero: the inverse of their scale would be infinite.
inline constexpr float kSmallest = 1e-36F;

/// Bytes of a block's weights.
constexpr std::size_t WeightBytes(int bits) {
  return kQuadBytes * static_cast<std::size_t>(kQuads * bits) / 8;
}

/// Bytes of a whole block.
constexpr std::size_t BlockBytes(int bits, bool corrected) {
  return WeightBytes(bits) + kScaleBytes + (corrected ? kPanelColumns : 0);
}

/// Multiplies the rows with one panel; `target` is the panel's first column, in rows of
/// `stride` floats, of which `columns` are written.
void MultiplyPanelPortable(const QuantisedRows& rows, const PackedMatrix& matrix, int panel,
                           float* target, std::size_t stride, int columns);
void MultiplyPanelAvx2(const QuantisedRows& rows, const PackedMatrix& matrix, int panel,
                       float* target, std::size_t stride, int columns);
void MultiplyPanelVnni(const QuantisedRows& rows, const PackedMatrix& matrix, int panel,
                       float* target, std::size_t stride, int columns);

/// Quantises one block: 32 bytes and the largest magnitude's scale, as `QuantisedRows` says.
/// Returns the sum of the bytes.
int QuantiseBlockPortable(const float* source, std::int8_t* target, float* scale);
int QuantiseBlockAvx2(const float* source, std::int8_t* target, float* scale);

}  // namespace llmrouter::kernels
