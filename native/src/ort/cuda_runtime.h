#pragma once

#include <cstddef>

namespace llmrouter::ort {

/// The part of CUDA's runtime library that ONNX Runtime's interface has no call for. Declared here
/// and found in the library that ONNX Runtime's provider has opened, so that building needs no
/// CUDA.
struct CudaRuntime {
  using Code = int;

  Code (*set_device)(int device) = nullptr;
  Code (*fill)(void* to, int value, std::size_t bytes) = nullptr;
  /// Copies rows between any two places: `kAnyDirection`.
  Code (*copy_rows)(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                    std::size_t bytes, std::size_t rows, int direction) = nullptr;
  Code (*synchronize)() = nullptr;
  const char* (*describe)(Code code) = nullptr;

  static constexpr int kAnyDirection = 4;  // cudaMemcpyDefault
};

/// Finds CUDA's runtime in this process. Throws kModelUnavailable naming what is missing.
CudaRuntime FindCudaRuntime();

}  // namespace llmrouter::ort
