#pragma once

#include "kernels/block_matmul.h"
#include "llmrouter/ort_decoder.h"

namespace llmrouter::ort {

/// The shape of a matrix as the kernels know it.
kernels::MatrixShape ShapeOf(const NativeMatrix& matrix);

/// Reads a matrix from its file into the order of the kernels, a few columns at a time. Throws
/// kModelUnavailable naming the file when it cannot be read or ends before the matrix does.
kernels::PackedMatrix ReadMatrix(const NativeMatrix& matrix);

/// The same into a matrix of its shape that has memory already.
void ReadMatrixInto(const NativeMatrix& matrix, kernels::PackedMatrix* packed);

/// Throws kModelUnavailable unless the file holds the matrix.
void CheckMatrix(const NativeMatrix& matrix);

}  // namespace llmrouter::ort
