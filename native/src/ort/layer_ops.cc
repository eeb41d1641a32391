#include "ort/layer_ops.h"

#include <algorithm>

#include "kernels/layer_math.h"
#include "llmrouter/error.h"

namespace llmrouter::ort {
namespace {

std::size_t SizeOf(const KernelInput& input) {
  std::size_t size = 1;
  for (const std::int64_t dimension : input.shape) size *= static_cast<std::size_t>(dimension);
  return size;
}

void Require(bool fits) {
  if (!fits) throw Error(ErrorCode::kGenerationFailed, "a layer meets tensors of another shape");
}

}  // namespace

class AddNormKernel {
 public:
  AddNormKernel(const AddNormOp& /*op*/, const OrtKernelInfo* info)
      : epsilon_(FractionOf(info, "epsilon")) {}

  void Compute(OrtKernelContext* context) const {
    const KernelInput a = InputOf(context, 0);
    const KernelInput b = InputOf(context, 1);
    const KernelInput gain = InputOf(context, 2);
    Require(!a.shape.empty() && a.shape == b.shape &&
            gain.shape == std::vector<std::int64_t>{a.shape.back()});
    float* normed = OutputOf(context, a.shape, 0);
    float* sum = OutputOf(context, a.shape, 1);
    const std::size_t width = SizeOf(gain);
    const std::size_t rows = width == 0 ? 0 : SizeOf(a) / width;
    ShareInParts(context, rows, width, [&](std::size_t first, std::size_t last) {
      for (std::size_t at = first * width; at < last * width; at += width) {
        kernels::AddNorm(a.data + at, b.data + at, gain.data, width, epsilon_, sum + at,
                         normed + at);
      }
    });
  }

 private:
  float epsilon_;
};

class GateKernel {
 public:
  GateKernel(const GateOp& /*op*/, const OrtKernelInfo* /*info*/) {}

  void Compute(OrtKernelContext* context) const {
    const KernelInput gate = InputOf(context, 0);
    const KernelInput up = InputOf(context, 1);
    Require(gate.shape == up.shape);
    float* output = OutputOf(context, gate.shape, 0);
    ShareInParts(context, SizeOf(gate), 1, [&](std::size_t first, std::size_t last) {
      kernels::GateBySilu(gate.data + first, up.data + first, last - first, output + first);
    });
  }
};

AddNormOp::AddNormOp() { Describe("AddNorm", 3, this, 2); }

GateOp::GateOp() { Describe("GateBySilu", 2, this); }

}  // namespace llmrouter::ort
