#pragma once

#include <string>
#include <vector>

#include "llmrouter/ort_decoder.h"
#include "ort/element.h"
#include "ort/session.h"

namespace llmrouter::ort {

/// `pattern` with its one %d replaced by `layer`. Throws kModelUnavailable unless there is one.
std::string LayerName(const std::string& pattern, int layer);

/// What a graph leaves open that a model's configuration does not tell.
struct Contract {
  /// Of keys and values.
  Element cache = Element::kFloat32;
  Element logits = Element::kFloat32;
  /// Whether it has the input `kLogitsToKeep`, int64 [1].
  bool takes_logits_to_keep = false;
};

/// Checks that a graph has exactly the tensors, types and shapes that the model's configuration
/// promises, and what attention can share there. Throws kModelUnavailable naming the tensor that
/// does not fit.
Contract ReadContract(const OrtModel& model, const Session& session);

/// Checks that a packed graph takes the tokens alone. Throws kModelUnavailable.
void CheckPackedContract(const OrtModel& model, const Session& session);

/// The input of our own graphs that says for how many last positions they compute logits.
inline constexpr const char* kLogitsToKeep = "logits_to_keep";

}  // namespace llmrouter::ort
