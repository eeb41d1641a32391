#include "ort/operator_domain.h"

#include <utility>

namespace llmrouter::ort {

OperatorDomain::OperatorDomain(std::vector<NativeMatrix> matrices, const PackedStep* step)
    : matmul_(std::move(matrices)),
      attention_(step, false),
      packed_attention_(step, true),
      keep_rows_(step),
      domain_(Create<CustomOpDomainPtr>(kCreateCustomOpDomain, "llmrouter")) {
  Check(GetApi()(kCustomOpDomainAdd, domain_.get(), &matmul_));
  if (step == nullptr) return;
  Check(GetApi()(kCustomOpDomainAdd, domain_.get(), &attention_));
  Check(GetApi()(kCustomOpDomainAdd, domain_.get(), &packed_attention_));
  Check(GetApi()(kCustomOpDomainAdd, domain_.get(), &keep_rows_));
}

}  // namespace llmrouter::ort
