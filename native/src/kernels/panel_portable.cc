#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/panel.h"

namespace llmrouter::kernels {
namespace {

/// The weight of a column at a place of the block's depth, as it is stored.
int WeightAt(const std::uint8_t* weights, int bits, int column, int depth) {
  const int quad = depth / kQuad;
  const auto byte = static_cast<std::size_t>(column * kQuad + depth % kQuad);
  if (bits == 8) {
    return static_cast<std::int8_t>(weights[static_cast<std::size_t>(quad) * kQuadBytes + byte]);
  }
  const std::uint8_t both = weights[static_cast<std::size_t>(quad / 2) * kQuadBytes + byte];
  return quad % 2 == 0 ? both & 15 : both >> 4;
}

}  // namespace

void MultiplyPanelPortable(const QuantisedRows& rows, const PackedMatrix& matrix, int panel,
                           float* target, std::size_t stride, int columns) {
  const MatrixShape& shape = matrix.shape();
  const std::size_t weight_bytes = WeightBytes(shape.bits);
  for (int row = 0; row < rows.rows(); ++row) {
    const std::uint8_t* block = matrix.Panel(panel);
    std::array<float, kPanelColumns> sums = {};
    for (int b = 0; b < shape.Blocks(); ++b) {
      const std::int8_t* values = rows.Values(row, b);
      for (int column = 0; column < kPanelColumns; ++column) {
        int exact = 0;
        for (int i = 0; i < kBlock; ++i) {
          exact += WeightAt(block, shape.bits, column, i) * values[i];
        }
        auto sum = static_cast<float>(exact);
        if (matrix.Corrected()) {
          const auto zero = static_cast<std::int8_t>(block[weight_bytes + kScaleBytes + column]);
          // Whole numbers: exact.
          sum -= static_cast<float>(zero) * static_cast<float>(*rows.Sums(row, b));
        }
        float scale;
        std::memcpy(&scale, block + weight_bytes + column * sizeof(float), sizeof(scale));
        sums[column] = std::fma(sum, *rows.Scales(row, b) * scale, sums[column]);
      }
      block += BlockBytes(shape.bits, matrix.Corrected());
    }
    std::copy_n(sums.begin(), columns, target + static_cast<std::size_t>(row) * stride);
  }
}

int QuantiseBlockPortable(const float* source, std::int8_t* target, float* scale) {
  // Magnitudes order as their bits do, and NaN comes last.
  std::uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) {
    bits = std::max(bits, std::bit_cast<std::uint32_t>(source[i]) & 0x7fffffffU);
  }
  const auto largest = std::bit_cast<float>(bits);
  if (!(largest >= kSmallest && largest <= std::numeric_limits<float>::max())) {
    std::fill_n(target, kBlock, std::int8_t{0});
    *scale = largest < kSmallest ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    return 0;
  }
  *scale = largest / 127.0F;
  const float inverse = 127.0F / largest;
  int sum = 0;
  for (int i = 0; i < kBlock; ++i) {
    const auto value = static_cast<int>(std::nearbyint(source[i] * inverse));
    target[i] = static_cast<std::int8_t>(value);
    sum += value;
  }
  return sum;
}

}  // namespace llmrouter::kernels
