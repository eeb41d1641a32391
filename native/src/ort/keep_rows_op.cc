#include "ort/keep_rows_op.h"

#include <algorithm>

#include "llmrouter/error.h"

namespace llmrouter::ort {

class KeepRowsKernel {
 public:
  KeepRowsKernel(const KeepRowsOp& op, const OrtKernelInfo* /*info*/) : step_(*op.step) {}

  void Compute(OrtKernelContext* context) const {
    KernelInput input = InputOf(context, 0);
    if (input.shape.size() != 3 || input.shape[0] != 1 || input.shape[1] != step_.tokens) {
      throw Error(ErrorCode::kGenerationFailed, "the head meets tensors of another shape");
    }
    input.shape[1] = static_cast<std::int64_t>(step_.kept.size());
    float* output = OutputOf(context, input.shape);
    for (const int token : step_.kept) {
      output = std::copy_n(input.data + token * input.shape[2], input.shape[2], output);
    }
  }

 private:
  const PackedStep& step_;
};

KeepRowsOp::KeepRowsOp(const PackedStep* running) : step(running) { Describe("KeepRows", 1, this); }

}  // namespace llmrouter::ort
