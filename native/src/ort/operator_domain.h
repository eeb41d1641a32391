#pragma once

#include "ort/attention_op.h"
#include "ort/keep_rows_op.h"
#include "ort/layer_ops.h"
#include "ort/matmul_op.h"

namespace llmrouter::ort {

/// The domain `llmrouter` of our own operators, version 1. A session's own, alive as long as it.
class OperatorDomain {
 public:
  /// `step` is what packed graphs run over; null for others.
  OperatorDomain(const OrtModel& model, const PackedStep* step);
  OperatorDomain(const OperatorDomain&) = delete;
  OperatorDomain& operator=(const OperatorDomain&) = delete;

  OrtCustomOpDomain* get() const { return domain_.get(); }

 private:
  MatMulOp matmul_;
  AttentionOp attention_;
  AttentionOp packed_attention_;
  KeepRowsOp keep_rows_;
  AddNormOp add_norm_;
  GateOp gate_;
  CustomOpDomainPtr domain_;
};

}  // namespace llmrouter::ort
