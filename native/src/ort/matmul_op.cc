#include "ort/matmul_op.h"

#include <algorithm>
#include <utility>

#include "kernels/block_matmul.h"
#include "llmrouter/error.h"
#include "ort/matrix_file.h"
#include "ort/packed_file.h"
#include "ort/packed_step.h"
#include "vector_math.h"

namespace llmrouter::ort {
namespace {

/// Products below this many multiplications are not worth waking another thread.
constexpr std::int64_t kWorthSharing = 1 << 17;
/// Pieces a product is cut into: more than threads, so that a thread that is held up leaves its
/// share to others.
constexpr int kPieces = 16;
/// Panels whose columns are a block of logits.
constexpr int kBlockPanels = static_cast<int>(kBlock) / kernels::kPanelColumns;

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
  MatMulKernel(const MatMulOp& op, const OrtKernelInfo* info)
      : matrix_(MatrixOf(op, info)), step_(op.step) {}

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
    float* const maxima = MaximaOf(output);
    const int unit = maxima == nullptr ? 1 : kBlockPanels;
    const auto begin = [&](int piece) {
      return piece == pieces ? shape.Panels() : shape.Panels() * piece / pieces / unit * unit;
    };
    const auto multiply = [&, &rows = quantised](std::size_t index) {
      const auto piece = static_cast<int>(index);
      const int first = begin(piece);
      const int last = begin(piece + 1);
      kernels::Multiply(rows, matrix_, first, last, output, kernels::BestPath());
      if (maxima != nullptr) NoteMaxima(output, rows.rows(), first, last, maxima);
    };
    if (pieces == 1) return multiply(0);
    Share(context, static_cast<std::size_t>(pieces), multiply);
  }

 private:
  /// Where the highest logits are noted, if it is logits that go to `output`.
  float* MaximaOf(const float* output) const {
    if (step_ == nullptr || step_->logits->values != output) return nullptr;
    step_->logits->noted = true;
    return step_->logits->maxima;
  }

  /// Notes those of the columns of some panels, while the thread that computed them has them in its
  /// caches.
  void NoteMaxima(const float* logits, int rows, int first, int last, float* maxima) const {
    const auto columns = static_cast<std::size_t>(matrix_.shape().columns);
    const std::size_t begin = static_cast<std::size_t>(first) * kernels::kPanelColumns;
    const std::size_t end =
        std::min(columns, static_cast<std::size_t>(last) * kernels::kPanelColumns);
    for (int row = 0; row < rows; ++row, logits += columns, maxima += Blocks(columns)) {
      BlockMaxima({logits + begin, end - begin}, {maxima + begin / kBlock, Blocks(end - begin)});
    }
  }

  kernels::PackedMatrix matrix_;
  const PackedStep* step_;
};

MatMulOp::MatMulOp(std::vector<NativeMatrix> multiplied,
                   const std::optional<SharedWeights>& shared_weights, const PackedStep* running)
    : matrices(std::move(multiplied)), step(running) {
  if (shared_weights) packed = shared_weights->file;
  if (packed != nullptr && !packed->Holds(matrices)) {
    throw Error(ErrorCode::kModelUnavailable, "the shared weights are those of another model");
  }
  Describe("MatMulNBits", 1, this);
}

}  // namespace llmrouter::ort
