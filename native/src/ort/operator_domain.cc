#include "ort/operator_domain.h"

namespace llmrouter::ort {

OperatorDomain::OperatorDomain(const OrtModel& model, const PackedStep* step)
    : matmul_(model.matrices, model.shared_weights, step),
      attention_(step, false),
      packed_attention_(step, true),
      keep_rows_(step),
      domain_(Create<CustomOpDomainPtr>(kCreateCustomOpDomain, "llmrouter")) {
  const auto add = [&](Operator& op) { Check(GetApi()(kCustomOpDomainAdd, domain_.get(), &op)); };
  add(matmul_);
  add(add_norm_);
  add(gate_);
  if (step == nullptr) return;
  add(attention_);
  add(packed_attention_);
  add(keep_rows_);
}

}  // namespace llmrouter::ort
