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

}  // namespace llmrouter::ort
