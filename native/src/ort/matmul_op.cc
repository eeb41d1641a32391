#include "ort/matmul_op.h"

#include <algorithm>
#include <utility>

#include "kernels/block_matmul.h"
#include "llmrouter/error.h"
#include "ort/matrix_file.h"
#include "ort/packed_file.h"

namespace llmrouter::ort {
namespace {

/// Products below this many multiplications are not worth waking another thread.
constexpr std::int64_t kWorthSharing = 1 << 17;
/// Pieces a product is cut into: more than threads, so that a thread that is held up leaves its
/// share to others.
constexpr int kPieces = 16;

kernels::PackedMatrix MatrixOf(const MatMulOp& op, const OrtKernelInfo* info) {
  const std::int64_t number = AttributeOf(info, "matrix");
  if (number < 0 || static_cast<std::size_t>(number) >= op.matrices.size()) {
    throw Error(ErrorCode::kModelUnavailable, "the graph names a matrix that is not there");
  }
  const auto index = static_cast<std::size_t>(number);
  return op.packed != nullptr ? op.packed->Matrix(index) : ReadMatrix(op.matrices[index]);
}

}  // namespace

class MatMulKernel {
 public:
  MatMulKernel(const MatMulOp& op, const OrtKernelInfo* info) : matrix_(MatrixOf(op, info)) {}

  void Compute(OrtKernelContext* context) const {
    KernelInput input = InputOf(context, 0);
    const kernels::MatrixShape& shape = matrix_.shape();
    if (input.shape.empty() || input.shape.back() != shape.depth) {
      throw Error(ErrorCode::kGenerationFailed, "a matrix meets activations of another depth");
    }
    std::int64_t rows = 1;
    for (const std::int64_t dimension : std::span(input.shape).first(input.shape.size() - 1)) {
      rows *= dimension;
    }
    input.shape.back() = shape.columns;
    float* output = OutputOf(context, input.shape);
    if (rows == 0) return;
    thread_local kernels::QuantisedRows quantised;  // One for all matrices: they run in turn.
    quantised.Resize(static_cast<int>(rows), shape.depth);
    ShareInParts(context, static_cast<std::size_t>(rows), static_cast<std::size_t>(shape.depth),
                 [&, &quantised = quantised](std::size_t first, std::size_t last) {
                   quantised.Fill(input.data, static_cast<int>(first), static_cast<int>(last));
                 });
    const int pieces = std::int64_t{shape.columns} * shape.depth * rows < kWorthSharing
                           ? 1
                           : std::min(shape.Panels(), kPieces);
    const auto multiply = [&, &rows = quantised](std::size_t index) {
      const auto piece = static_cast<int>(index);
      kernels::Multiply(rows, matrix_, shape.Panels() * piece / pieces,
                        shape.Panels() * (piece + 1) / pieces, output, kernels::BestPath());
    };
    if (pieces == 1) return multiply(0);
    Share(context, static_cast<std::size_t>(pieces), multiply);
  }

 private:
  kernels::PackedMatrix matrix_;
};

MatMulOp::MatMulOp(std::vector<NativeMatrix> multiplied,
                   const std::optional<SharedWeights>& shared_weights)
    : matrices(std::move(multiplied)) {
  if (shared_weights) packed = shared_weights->file;
  if (packed != nullptr && !packed->Holds(matrices)) {
    throw Error(ErrorCode::kModelUnavailable, "the shared weights are those of another model");
  }
  Describe("MatMulNBits", 1, this);
}

}  // namespace llmrouter::ort
