#pragma once

// A product with a panel, cut into tiles of few rows: those share the loading of a weight.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/panel.h"

namespace llmrouter::kernels {

/// The part that the rows of a tile have of a block, as `QuantisedRows` has it: one row's behind
/// the other's.
struct TileRows {
  const std::int8_t* values = nullptr;
  const float* scales = nullptr;
  const std::int32_t* sums = nullptr;
  std::size_t stride = 0;

  /// Goes on to the next block.
  void Advance() {
    values += stride * kBlock;
    scales += stride;
    sums += stride;
  }
};

/// Where the results of a tile are written: kPanelColumns to each row.
struct TileTarget {
  float* results = nullptr;
  std::size_t stride = 0;

  float* Row(int row) const { return results + static_cast<std::size_t>(row) * stride; }
};

/// Multiplies the rows of a tile with all blocks of a panel. Both structures by reference: copied,
/// by wider registers than they were written with, they would wait for all stores before them.
using TileFunction = void (*)(const TileRows& first, const std::uint8_t* block, int blocks,
                              const TileTarget& target);

/// Tiles by their rows less one.
template <std::size_t kMostRows>
using TileFunctions = std::array<TileFunction, kMostRows>;

/// `MultiplyPanelPortable`, by tiles of nearly equal height: sixteen rows are four times four, not
/// three times five and one.
template <std::size_t kMostRows>
void MultiplyInTiles(const std::array<TileFunction, kMostRows>& tiles, const QuantisedRows& rows,
                     const PackedMatrix& matrix, int panel, float* target, std::size_t stride,
                     int columns) {
  if (rows.rows() == 0) return;
  const int count = (rows.rows() + static_cast<int>(kMostRows) - 1) / static_cast<int>(kMostRows);
  const int height = rows.rows() / count;
  const int higher = rows.rows() % count;
  float computed[kMostRows][kPanelColumns];
  for (int tile = 0, row = 0; tile < count; ++tile) {
    const int more = height + (tile < higher ? 1 : 0);
    const TileRows part = {rows.Values(row, 0), rows.Scales(row, 0), rows.Sums(row, 0),
                           rows.stride()};
    float* results = target + static_cast<std::size_t>(row) * stride;
    const bool whole = columns == kPanelColumns;
    tiles[static_cast<std::size_t>(more) - 1](
        part, matrix.Panel(panel), matrix.shape().Blocks(),
        whole ? TileTarget{results, stride} : TileTarget{computed[0], kPanelColumns});
    for (int i = 0; i < more && !whole; ++i) {
      std::copy_n(computed[i], columns, results + static_cast<std::size_t>(i) * stride);
    }
    row += more;
  }
}

}  // namespace llmrouter::kernels
