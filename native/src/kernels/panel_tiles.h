#pragma once

// A product with a panel, cut into tiles of few rows: those share the loading of a weight.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/panel.h"

namespace llmrouter::kernels {

/// The rows of a tile, as `QuantisedRows` has them.
template <std::size_t kMostRows>
struct TileRows {
  std::array<const std::int8_t*, kMostRows> values;
  std::array<const float*, kMostRows> scales;
  std::array<const float*, kMostRows> sums;
};

/// Multiplies the rows of a tile with all blocks of a panel.
template <std::size_t kMostRows>
using TileFunction = void (*)(const TileRows<kMostRows>& rows, const std::uint8_t* block,
                              int blocks, float (*target)[kPanelColumns]);

/// Tiles by their rows less one.
template <std::size_t kMostRows>
using TileFunctions = std::array<TileFunction<kMostRows>, kMostRows>;

/// `MultiplyPanelPortable`, by tiles of nearly equal height: sixteen rows are four times four, not
/// three times five and one.
template <std::size_t kMostRows>
void MultiplyInTiles(const std::array<TileFunction<kMostRows>, kMostRows>& tiles,
                     const QuantisedRows& rows, const PackedMatrix& matrix, int panel,
                     float* target, std::size_t stride, int columns) {
  int left = (rows.rows() + static_cast<int>(kMostRows) - 1) / static_cast<int>(kMostRows);
  float computed[kMostRows][kPanelColumns];
  for (int row = 0; row < rows.rows(); --left) {
    const int height = (rows.rows() - row + left - 1) / left;
    TileRows<kMostRows> tile = {};
    for (int i = 0; i < height; ++i) {
      tile.values[i] = rows.Values(row + i);
      tile.scales[i] = rows.Scales(row + i);
      tile.sums[i] = rows.Sums(row + i);
    }
    tiles[height - 1](tile, matrix.Panel(panel), matrix.shape().Blocks(), computed);
    for (int i = 0; i < height; ++i, ++row) {
      std::copy_n(computed[i], columns, target + static_cast<std::size_t>(row) * stride);
    }
  }
}

}  // namespace llmrouter::kernels
