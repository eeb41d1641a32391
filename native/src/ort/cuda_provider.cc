#include "ort/cuda_provider.h"

#include <array>
#include <string>

namespace llmrouter::ort {

void AppendCuda(OrtSessionOptions* options, int device) {
  const Api& api = GetApi();
  const auto cuda = Create<CudaOptionsPtr>(kCreateCudaOptions);
  const std::string number = std::to_string(device);
  // The arena otherwise doubles with every growth, and the cache is most of the memory.
  const std::array<const char*, 2> names = {"device_id", "arena_extend_strategy"};
  const std::array<const char*, 2> values = {number.c_str(), "kSameAsRequested"};
  Check(api(kUpdateCudaOptions, cuda.get(), names.data(), values.data(), names.size()));
  Check(api(kAppendExecutionProviderCuda, options, cuda.get()));
}

}  // namespace llmrouter::ort
