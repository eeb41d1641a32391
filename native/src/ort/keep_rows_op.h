#pragma once

#include "ort/custom_op.h"
#include "ort/packed_step.h"

namespace llmrouter::ort {

class KeepRowsKernel;

/// KeepRows: float [1, tokens, width] to float [1, kept, width], the tokens whose logits a packed
/// step wants.
struct KeepRowsOp : Operator {
  using Kernel = KeepRowsKernel;

  explicit KeepRowsOp(const PackedStep* running);

  const PackedStep* step;
};

}  // namespace llmrouter::ort
