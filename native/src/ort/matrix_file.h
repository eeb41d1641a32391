#pragma once

#include "kernels/block_matmul.h"
#include "llmrouter/ort_decoder.h"

namespace llmrouter::ort {

/// Reads a matrix from its file into the order of the kernels, a few columns at a time. Throws
/// kModelUnavailable naming the file when it cannot be read or ends before the matrix does.
kernels::PackedMatrix ReadMatrix(const NativeMatrix& matrix);

}  // namespace llmrouter::ort
