#pragma once

#include <vector>

#include "llmrouter/ort_decoder.h"
#include "ort/custom_op.h"
#include "ort/ort_api.h"

namespace llmrouter::ort {

/// The domain `llmrouter` with its one operator: MatMulNBits, version 1, takes float [..., depth]
/// and gives float [..., columns]; its attribute `matrix` (int) is a place in a list of matrices.
/// A session's own, alive as long as that session.
class MatMulDomain {
 public:
  explicit MatMulDomain(std::vector<NativeMatrix> matrices);
  MatMulDomain(const MatMulDomain&) = delete;
  MatMulDomain& operator=(const MatMulDomain&) = delete;

  OrtCustomOpDomain* get() const { return domain_.get(); }

 private:
  /// What the library is given: the description of the operator, and behind it the matrices.
  struct Op : OrtCustomOp {
    std::vector<NativeMatrix> matrices;
  };

  static OrtStatus* CreateKernel(const OrtCustomOp* op, const void* api, const OrtKernelInfo* info,
                                 void** kernel);

  Op op_;
  CustomOpDomainPtr domain_;
};

}  // namespace llmrouter::ort
