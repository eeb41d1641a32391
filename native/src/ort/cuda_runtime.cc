#include "ort/cuda_runtime.h"

#include <dlfcn.h>

#include <array>

#include "llmrouter/error.h"
#include "symbol.h"

namespace llmrouter::ort {
namespace {

/// Of the versions that ONNX Runtime's wheels have been built with, the newest first. Only one that
/// is already open is taken: a second runtime would not know the first one's memory.
constexpr std::array<const char*, 3> kNames = {"libcudart.so.14", "libcudart.so.13",
                                               "libcudart.so.12"};

void* OpenLibrary() {
  for (const char* name : kNames) {
    if (void* library = dlopen(name, RTLD_NOW | RTLD_NOLOAD)) return library;
  }
  throw Error(ErrorCode::kModelUnavailable,
              "ONNX Runtime has opened no runtime of CUDA that is known here (libcudart.so.12 to "
              ".so.14)");
}

}  // namespace

CudaRuntime FindCudaRuntime() {
  void* library = OpenLibrary();
  CudaRuntime runtime;
  const auto find = [library](const char* name, auto* function) {
    FindSymbol(library, "CUDA's runtime", name, function);
  };
  find("cudaSetDevice", &runtime.set_device);
  find("cudaMemset", &runtime.fill);
  find("cudaMemcpy2D", &runtime.copy_rows);
  find("cudaDeviceSynchronize", &runtime.synchronize);
  find("cudaGetErrorString", &runtime.describe);
  return runtime;
}

}  // namespace llmrouter::ort
