#pragma once

#include "ort/custom_op.h"
#include "ort/packed_step.h"

namespace llmrouter::ort {

class AttentionKernel;

/// Attention over the tokens of a packed step, each in its own row of the cache, into which keys
/// and values are written first. Takes queries, keys and values as one tensor or as three, [1,
/// tokens, heads x head size] each, and the rotation's cosines and sines [positions, half].
/// Attributes (int): `heads`, `layer`, `interleaved`; and `scale` (float).
struct AttentionOp : Operator {
  using Kernel = AttentionKernel;

  /// `together`: queries, keys and values come as one tensor.
  AttentionOp(const PackedStep* running, bool together);

  const PackedStep* step;
};

}  // namespace llmrouter::ort
