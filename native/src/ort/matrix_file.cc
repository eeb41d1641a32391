#include "ort/matrix_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "llmrouter/error.h"

namespace llmrouter::ort {
namespace {

using kernels::kPanelColumns;
using kernels::MatrixShape;

/// Columns read at once: enough for large reads, little memory beside the matrix.
constexpr int kColumnsAtOnce = 8 * kPanelColumns;

/// An open file of weights. Read, not mapped: a file that shrinks meanwhile is an error then and
/// not the end of the process.
class File {
 public:
  explicit File(const std::string& path)
      : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status = {};
    if (descriptor_ < 0 || fstat(descriptor_, &status) != 0) {
      if (descriptor_ >= 0) close(descriptor_);
      throw Error(ErrorCode::kModelUnavailable, path_ + ": cannot be read");
    }
    bytes_ = status.st_size;
  }
  ~File() { close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Throws kModelUnavailable unless the file holds `count` times `bytes` from `offset` on.
  void CheckHolds(std::int64_t offset, int count, std::size_t bytes) const {
    const auto needed = static_cast<std::int64_t>(static_cast<std::size_t>(count) * bytes);
    if (offset < 0 || needed > bytes_ || offset > bytes_ - needed) TooShort();
  }

  void Read(std::int64_t offset, void* target, std::size_t bytes) const {
    auto* at = static_cast<char*>(target);
    while (bytes > 0) {
      const ssize_t got = pread(descriptor_, at, bytes, offset);
      if (got <= 0) TooShort();
      at += got;
      offset += got;
      bytes -= static_cast<std::size_t>(got);
    }
  }

 private:
  [[noreturn]] void TooShort() const {
    throw Error(ErrorCode::kModelUnavailable, path_ + ": ends before the weights do");
  }

  std::string path_;
  int descriptor_;
  std::int64_t bytes_ = 0;
};

std::size_t ScaleBytes(const MatrixShape& shape) {
  return sizeof(float) * static_cast<std::size_t>(shape.Blocks());
}

void CheckHolds(const File& file, const NativeMatrix& matrix) {
  const MatrixShape shape = ShapeOf(matrix);
  kernels::CheckShape(shape);
  file.CheckHolds(matrix.data_offset, shape.columns, shape.ColumnBytes());
  file.CheckHolds(matrix.scales_offset, shape.columns, ScaleBytes(shape));
  if (shape.zero_points) {
    file.CheckHolds(matrix.zero_points_offset, shape.columns, shape.ColumnZeroBytes());
  }
}

}  // namespace

MatrixShape ShapeOf(const NativeMatrix& matrix) {
  return {matrix.columns, matrix.depth, matrix.bits, matrix.zero_points_offset >= 0};
}

void CheckMatrix(const NativeMatrix& matrix) { CheckHolds(File(matrix.file), matrix); }

kernels::PackedMatrix ReadMatrix(const NativeMatrix& matrix) {
  CheckMatrix(matrix);  // Before any memory is taken: the sizes come from the model.
  kernels::PackedMatrix packed(ShapeOf(matrix));
  ReadMatrixInto(matrix, &packed);
  return packed;
}

void ReadMatrixInto(const NativeMatrix& matrix, kernels::PackedMatrix* packed) {
  const MatrixShape shape = ShapeOf(matrix);
  const File file(matrix.file);
  CheckHolds(file, matrix);
  const std::size_t scale_bytes = ScaleBytes(shape);
  const std::size_t zero_bytes = shape.ColumnZeroBytes();
  std::vector<std::uint8_t> data(kColumnsAtOnce * shape.ColumnBytes());
  std::vector<float> scales(static_cast<std::size_t>(kColumnsAtOnce * shape.Blocks()));
  std::vector<std::uint8_t> zeros(kColumnsAtOnce * zero_bytes);
  for (int column = 0; column < shape.columns; column += kColumnsAtOnce) {
    const auto count = static_cast<std::size_t>(std::min(kColumnsAtOnce, shape.columns - column));
    const auto skip = [column](std::size_t bytes) {
      return static_cast<std::int64_t>(static_cast<std::size_t>(column) * bytes);
    };
    file.Read(matrix.data_offset + skip(shape.ColumnBytes()), data.data(),
              count * shape.ColumnBytes());
    file.Read(matrix.scales_offset + skip(scale_bytes), scales.data(), count * scale_bytes);
    if (shape.zero_points) {
      file.Read(matrix.zero_points_offset + skip(zero_bytes), zeros.data(), count * zero_bytes);
    }
    for (std::size_t i = 0; i < count; i += kPanelColumns) {
      packed->Pack((column + static_cast<int>(i)) / kPanelColumns,
                   {data.data() + i * shape.ColumnBytes(),
                    scales.data() + i * static_cast<std::size_t>(shape.Blocks()),
                    zeros.data() + i * zero_bytes});
    }
  }
}

}  // namespace llmrouter::ort
