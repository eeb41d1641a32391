#pragma once

#include "ort/custom_op.h"

namespace llmrouter::ort {

class AddNormKernel;
class GateKernel;

/// AddNorm: of two tensors [..., width] and a gain [width], the sum of the first two normalised by
/// its root mean square and scaled by the gain, and the sum. Attribute `epsilon` (float).
struct AddNormOp : Operator {
  using Kernel = AddNormKernel;
  AddNormOp();
};

/// GateBySilu: gate x sigmoid(gate) x up, of tensors of one shape.
struct GateOp : Operator {
  using Kernel = GateKernel;
  GateOp();
};

}  // namespace llmrouter::ort
