#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "llmrouter/ort_decoder.h"
#include "ort/custom_op.h"

namespace llmrouter::ort {

class MatMulKernel;
class PackedFile;
struct PackedStep;

/// MatMulNBits: float [..., depth] to float [..., columns]. Its attribute `matrix` (int) is a place
/// in a list of matrices.
struct MatMulOp : Operator {
  using Kernel = MatMulKernel;

  /// As in `OrtModel`; `running` may be null. Throws kModelUnavailable where `shared_weights` are
  /// of other matrices.
  MatMulOp(std::vector<NativeMatrix> multiplied, const std::optional<SharedWeights>& shared_weights,
           const PackedStep* running);

  std::vector<NativeMatrix> matrices;
  /// All of them in the order of the kernels; null where each is read into memory of its own.
  std::shared_ptr<const PackedFile> packed;
  const PackedStep* step;
};

}  // namespace llmrouter::ort
