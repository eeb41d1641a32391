#include "kernels/block_matmul.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "kernels/pages.h"
#include "kernels/panel.h"
#include "llmrouter/processor.h"

namespace llmrouter::kernels {
namespace {

const MatrixShape& Checked(const MatrixShape& shape) {
  CheckShape(shape);
  return shape;
}

bool IsCorrected(const MatrixShape& shape) { return shape.bits == 4 || shape.zero_points; }

std::shared_ptr<std::byte> OwnMemory(std::size_t bytes) {
  auto pages = std::make_shared<Pages>(bytes);
  std::byte* data = pages->data();
  return {std::move(pages), data};
}

int NibbleAt(const std::uint8_t* packed, int index) {
  return index % 2 == 0 ? packed[index / 2] & 15 : packed[index / 2] >> 4;
}

/// Spreads one column's block over the panel: four bytes of depth to each quad.
void PackWeights8(const std::uint8_t* source, std::uint8_t* target) {
  for (int quad = 0; quad < kQuads; ++quad) {
    std::uint32_t four;
    std::memcpy(&four, source + quad * kQuad, sizeof(four));
    four ^= 0x80808080U;  // q - 128 in two's complement.
    std::memcpy(target + static_cast<std::size_t>(quad) * kQuadBytes, &four, sizeof(four));
  }
}

void PackWeights4(const std::uint8_t* source, std::uint8_t* target) {
  for (int pair = 0; pair < kQuads / 2; ++pair) {
    for (int i = 0; i < kQuad; ++i) {
      const int first = NibbleAt(source, pair * 2 * kQuad + i);
      const int second = NibbleAt(source, pair * 2 * kQuad + kQuad + i);
      target[static_cast<std::size_t>(pair) * kQuadBytes + static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(first | second << 4);
    }
  }
}

std::int8_t Correction(const MatrixShape& shape, const std::uint8_t* zero_points, int block) {
  if (!shape.zero_points) return shape.bits == 4 ? 8 : 0;
  return static_cast<std::int8_t>(shape.bits == 4 ? NibbleAt(zero_points, block)
                                                  : zero_points[block] - 128);
}

int QuantiseBlock(const float* source, std::int8_t* target, float* scale) {
#if defined(__x86_64__)
  static const bool avx2 = DetectProcessor().avx2;
  if (avx2) return QuantiseBlockAvx2(source, target, scale);
#endif
  return QuantiseBlockPortable(source, target, scale);
}

}  // namespace

void CheckShape(const MatrixShape& shape) {
  const bool fits = shape.columns > 0 && shape.depth > 0 && shape.depth % kBlock == 0 &&
                    (shape.bits == 4 || shape.bits == 8);
  if (!fits) throw std::invalid_argument("a matrix needs columns, whole blocks, and 4 or 8 bits");
}

std::size_t MatrixShape::ColumnBytes() const {
  return static_cast<std::size_t>(depth) * static_cast<std::size_t>(bits) / 8;
}

std::size_t MatrixShape::ColumnZeroBytes() const {
  if (!zero_points) return 0;
  return (static_cast<std::size_t>(Blocks()) * static_cast<std::size_t>(bits) + 7) / 8;
}

PackedMatrix::PackedMatrix(const MatrixShape& shape)
    : PackedMatrix(shape, OwnMemory(Bytes(shape))) {}

PackedMatrix::PackedMatrix(const MatrixShape& shape, std::shared_ptr<std::byte> memory)
    : shape_(Checked(shape)), memory_(std::move(memory)) {}

std::size_t PackedMatrix::Bytes(const MatrixShape& shape) {
  CheckShape(shape);
  return kernels::BlockBytes(shape.bits, IsCorrected(shape)) *
         static_cast<std::size_t>(shape.Blocks()) * static_cast<std::size_t>(shape.Panels());
}

bool PackedMatrix::Corrected() const { return IsCorrected(shape_); }

std::size_t PackedMatrix::BlockBytes() const {
  return kernels::BlockBytes(shape_.bits, Corrected());
}

std::uint8_t* PackedMatrix::MutablePanel(int panel) {
  return reinterpret_cast<std::uint8_t*>(memory_.get()) +
         static_cast<std::size_t>(panel) * static_cast<std::size_t>(shape_.Blocks()) * BlockBytes();
}

const std::uint8_t* PackedMatrix::Panel(int panel) const {
  return const_cast<PackedMatrix*>(this)->MutablePanel(panel);
}

void PackedMatrix::Pack(int panel, const BlockColumns& columns) {
  const int width = std::min(kPanelColumns, shape_.columns - panel * kPanelColumns);
  const std::size_t weights = WeightBytes(shape_.bits);
  const auto source_block = static_cast<std::size_t>(kBlock * shape_.bits / 8);
  for (int column = 0; column < width; ++column) {
    const std::uint8_t* source =
        columns.data + static_cast<std::size_t>(column) * shape_.ColumnBytes();
    const float* scales = columns.scales + static_cast<std::ptrdiff_t>(column) * shape_.Blocks();
    const std::uint8_t* zeros =
        shape_.zero_points
            ? columns.zero_points + static_cast<std::size_t>(column) * shape_.ColumnZeroBytes()
            : nullptr;
    std::uint8_t* target = MutablePanel(panel);
    for (int block = 0; block < shape_.Blocks(); ++block) {
      std::uint8_t* at = target + column * kQuad;
      shape_.bits == 8 ? PackWeights8(source, at) : PackWeights4(source, at);
      std::memcpy(target + weights + static_cast<std::size_t>(column) * sizeof(float),
                  scales + block, sizeof(float));
      if (Corrected()) {
        const std::int8_t correction = Correction(shape_, zeros, block);
        std::memcpy(target + weights + kScaleBytes + column, &correction, 1);
      }
      source += source_block;
      target += BlockBytes();
    }
  }
}

void QuantisedRows::Assign(const float* source, int rows, int depth) {
  Resize(rows, depth);
  Fill(source, 0, rows);
}

void QuantisedRows::Resize(int rows, int depth) {
  rows_ = rows;
  blocks_ = depth / kBlock;
  // Odd: blocks a multiple of 4 KiB apart would drive each other out of the first cache.
  stride_ = static_cast<std::size_t>(rows) | 1;
  const std::size_t count = static_cast<std::size_t>(blocks_) * stride_;
  // The last to grow: where memory failed one, the next use tries again.
  if (sums_.size() < count) {
    values_.resize(count * kBlock);
    scales_.resize(count);
    sums_.resize(count);
  }
}

void QuantisedRows::Fill(const float* source, int first, int last) {
  source += static_cast<std::ptrdiff_t>(first) * blocks_ * kBlock;
  for (int row = first; row < last; ++row) {
    for (int block = 0; block < blocks_; ++block, source += kBlock) {
      const std::size_t at = Index(row, block);
      sums_[at] = QuantiseBlock(source, values_.data() + at * kBlock, &scales_[at]);
    }
  }
}

Path BestPath() {
  static const Path best = [] {
    const Processor processor = DetectProcessor();
    if (processor.avx512_vnni) return Path::kVnni;
    return processor.avx2 ? Path::kAvx2 : Path::kPortable;
  }();
  return best;
}

void Multiply(const QuantisedRows& rows, const PackedMatrix& matrix, int first_panel,
              int last_panel, float* target, Path path) {
  const auto stride = static_cast<std::size_t>(matrix.shape().columns);
  for (int panel = first_panel; panel < last_panel; ++panel) {
    const int column = panel * kPanelColumns;
    const int width = std::min(kPanelColumns, matrix.shape().columns - column);
#if defined(__x86_64__)
    if (path == Path::kVnni) {
      MultiplyPanelVnni(rows, matrix, panel, target + column, stride, width);
      continue;
    }
    if (path == Path::kAvx2) {
      MultiplyPanelAvx2(rows, matrix, panel, target + column, stride, width);
      continue;
    }
#endif
    MultiplyPanelPortable(rows, matrix, panel, target + column, stride, width);
  }
}

}  // namespace llmrouter::kernels
