#pragma once

#include <memory>
#include <string>
#include <vector>

#include "llmrouter/ort_decoder.h"
#include "ort/custom_op.h"

namespace llmrouter::ort {

class MatMulKernel;
class PackedFile;

/// MatMulNBits: float [..., depth] to float [..., columns]. Its attribute `matrix` (int) is a place
/// in a list of matrices.
struct MatMulOp : Operator {
  using Kernel = MatMulKernel;

  /// `shared_weights` as in `OrtModel`.
  MatMulOp(std::vector<NativeMatrix> multiplied, const std::string& shared_weights);

  std::vector<NativeMatrix> matrices;
  /// All of them in the order of the kernels; null where each is read into memory of its own.
  std::shared_ptr<const PackedFile> packed;
};

}  // namespace llmrouter::ort
