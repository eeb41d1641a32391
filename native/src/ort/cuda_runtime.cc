#include "ort/cuda_runtime.h"

#include <dlfcn.h>

#include <array>
#include <string>

#include "llmrouter/error.h"

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

template <typename Function>
void Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function == nullptr) {
    throw Error(ErrorCode::kModelUnavailable, "CUDA's runtime lacks " + std::string(name));
  }
}

}  // namespace

CudaRuntime FindCudaRuntime() {
  void* library = OpenLibrary();
  CudaRuntime runtime;
  Find(library, "cudaSetDevice", &runtime.set_device);
  Find(library, "cudaMemset", &runtime.fill);
  Find(library, "cudaMemcpy2D", &runtime.copy_rows);
  Find(library, "cudaDeviceSynchronize", &runtime.synchronize);
  Find(library, "cudaGetErrorString", &runtime.describe);
  return runtime;
}

}  // namespace llmrouter::ort
