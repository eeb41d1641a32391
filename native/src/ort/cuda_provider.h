#pragma once

#include "ort/ort_api.h"

namespace llmrouter::ort {

/// Lets a session compute on a GPU, counted from 0. Throws kModelUnavailable in the library's words
/// where it was built without CUDA, or CUDA is not installed here.
void AppendCuda(OrtSessionOptions* options, int device);

}  // namespace llmrouter::ort
