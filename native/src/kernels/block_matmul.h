#pragma once

// Products with block-quantised matrices. The integers of a block are multiplied and summed
// exactly; blocks are scaled and added as floats in the order of the depth, so that a row's result
// depends on nothing but that row.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace llmrouter::kernels {

/// Depth that shares a scale.
inline constexpr int kBlock = 32;
/// Columns that are computed together.
inline constexpr int kPanelColumns = 16;

/// A matrix [depth, columns] with its weights in blocks along the depth.
struct MatrixShape {
  int columns = 0;
  /// A multiple of kBlock.
  int depth = 0;
  /// 4 or 8.
  int bits = 8;
  /// Whether blocks bring their zero points; otherwise these are the middle of the range.
  bool zero_points = false;

  int Blocks() const { return depth / kBlock; }
  int Panels() const { return (columns + kPanelColumns - 1) / kPanelColumns; }
  /// Bytes of one column's weights, and of its zero points, as the operator MatMulNBits has them.
  std::size_t ColumnBytes() const;
  std::size_t ColumnZeroBytes() const;

  bool operator==(const MatrixShape&) const = default;
};

/// Throws std::invalid_argument unless the sizes are positive, the depth a multiple of kBlock, the
/// bits 4 or 8.
void CheckShape(const MatrixShape& shape);

/// Some consecutive columns as MatMulNBits has them: a weight is (q - zero point) * scale.
struct BlockColumns {
  /// [columns, blocks, kBlock * bits / 8]; of two 4-bit values in a byte the lower is the first.
  const std::uint8_t* data = nullptr;
  /// [columns, blocks].
  const float* scales = nullptr;
  /// [columns, ceil(blocks * bits / 8)] packed as data; null unless the shape has zero points.
  const std::uint8_t* zero_points = nullptr;
};

/// A matrix in the order in which it is read: panels of kPanelColumns, in these blocks, in these
/// the weights, scales and zero points.
class PackedMatrix {
 public:
  /// Takes memory; panels are zero until packed. Throws as `CheckShape`, and std::bad_alloc.
  explicit PackedMatrix(const MatrixShape& shape);

  /// Lies in `memory`, as large as `Bytes` says and packed already, or to be packed. Throws as
  /// `CheckShape`.
  PackedMatrix(const MatrixShape& shape, std::shared_ptr<std::byte> memory);

  /// The memory it takes. Throws as `CheckShape`.
  static std::size_t Bytes(const MatrixShape& shape);

  /// Packs a panel from its columns; the last panel may have fewer than kPanelColumns.
  void Pack(int panel, const BlockColumns& columns);

  const MatrixShape& shape() const { return shape_; }
  /// Whether blocks hold a correction for their zero points.
  bool Corrected() const;
  const std::uint8_t* Panel(int panel) const;

 private:
  std::size_t BlockBytes() const;
  std::uint8_t* MutablePanel(int panel);

  MatrixShape shape_;
  std::shared_ptr<std::byte> memory_;
};

/// Rows of activations as bytes -127 to 127, with one scale per row and block. What rows have of
/// one block lies together, so that a product finds several rows at fixed distances. Memory is kept
/// from one use to the next.
class QuantisedRows {
 public:
  /// Takes [rows, depth]; depth is a multiple of kBlock. A block that holds what is not a finite
  /// number makes its row's results NaN; one whose largest value is below 1e-36 counts as zero.
  void Assign(const float* source, int rows, int depth);

  /// The same in parts: makes room for [rows, depth], then takes its rows first..last-1. Different
  /// rows may be taken by different threads at once.
  void Resize(int rows, int depth);
  void Fill(const float* source, int first, int last);

  int rows() const { return rows_; }
  /// From a row's part of a block to its part of the next, in rows.
  std::size_t stride() const { return stride_; }
  /// The kBlock bytes of one row and block; those of the next row follow.
  const std::int8_t* Values(int row, int block) const {
    return values_.data() + Index(row, block) * kBlock;
  }
  /// The scale of one row and block, and the sum of its bytes; those of the next row follow.
  const float* Scales(int row, int block) const { return scales_.data() + Index(row, block); }
  const std::int32_t* Sums(int row, int block) const { return sums_.data() + Index(row, block); }

 private:
  std::size_t Index(int row, int block) const {
    return static_cast<std::size_t>(block) * stride_ + static_cast<std::size_t>(row);
  }

  int rows_ = 0;
  int blocks_ = 0;
  std::size_t stride_ = 0;
  std::vector<std::int8_t> values_;
  std::vector<float> scales_;
  std::vector<std::int32_t> sums_;
};

/// Ways to compute: products to the same bits, attention to those of its registers' width.
enum class Path { kPortable, kAvx2, kVnni };

/// The fastest this processor runs.
Path BestPath();

/// Computes the columns of the panels from `first_panel` up to `last_panel` into `target`
/// [rows, columns] for all rows. The depths must be equal. Different panels may be computed by
/// different threads at once.
void Multiply(const QuantisedRows& rows, const PackedMatrix& matrix, int first_panel,
              int last_panel, float* target, Path path);

}  // namespace llmrouter::kernels
