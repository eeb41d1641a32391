#pragma once

#include <vector>

#include "llmrouter/ort_decoder.h"
#include "ort/custom_op.h"

namespace llmrouter::ort {

class MatMulKernel;

/// MatMulNBits: float [..., depth] to float [..., columns]. Its attribute `matrix` (int) is a place
/// in a list of matrices.
struct MatMulOp : Operator {
  using Kernel = MatMulKernel;

  explicit MatMulOp(std::vector<NativeMatrix> multiplied);

  std::vector<NativeMatrix> matrices;
};

}  // namespace llmrouter::ort
