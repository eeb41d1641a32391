#pragma once

#include <string>
#include <vector>

#include "llmrouter/ort_decoder.h"
#include "ort/session.h"

namespace llmrouter::ort {

/// `pattern` with its one %d replaced by `layer`. Throws kModelUnavailable unless there is one.
std::string LayerName(const std::string& pattern, int layer);

/// Checks that a graph has exactly the tensors, types and shapes that the model's configuration
/// promises. Throws kModelUnavailable naming the tensor that does not fit.
void CheckContract(const OrtModel& model, const Session& session);

/// Checks that a packed graph takes the tokens alone. Throws kModelUnavailable.
void CheckPackedContract(const OrtModel& model, const Session& session);

/// The input of our own graphs that says for how many last positions they compute logits.
inline constexpr const char* kLogitsToKeep = "logits_to_keep";

/// Whether a graph has that input, int64 [1].
bool TakesLogitsToKeep(const Session& session);

}  // namespace llmrouter::ort
