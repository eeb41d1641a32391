#pragma once

// What stands between the products of a layer, token by token.

#include <cstddef>

namespace llmrouter::kernels {

/// Writes a + b to `sum`, and to `normed` that over its root mean square, times `gain` (RMSNorm,
/// Zhang and Sennrich 2019). All of `width` values.
void AddNorm(const float* a, const float* b, const float* gain, std::size_t width, float epsilon,
             float* sum, float* normed);

/// Writes gate x sigmoid(gate) x up (SwiGLU, Shazeer 2020).
void GateBySilu(const float* gate, const float* up, std::size_t size, float* target);

}  // namespace llmrouter::kernels
