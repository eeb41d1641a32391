#include "ort/custom_op.h"

#include "ort/session.h"

namespace llmrouter::ort {
namespace {

float* DataOf(OrtValue* value) {
  void* data = nullptr;
  Check(GetApi()(kGetTensorMutableData, value, &data));
  return static_cast<float*>(data);
}

}  // namespace

KernelInput InputOf(OrtKernelContext* context, std::size_t index) {
  const OrtValue* input = nullptr;
  Check(GetApi()(kKernelContextGetInput, context, index, &input));
  // The library's accessor knows no constant values.
  return {ShapeOf(input), DataOf(const_cast<OrtValue*>(input))};
}

float* OutputOf(OrtKernelContext* context, std::span<const std::int64_t> shape, std::size_t index) {
  OrtValue* output = nullptr;
  Check(GetApi()(kKernelContextGetOutput, context, index, shape.data(), shape.size(), &output));
  return DataOf(output);
}

std::int64_t AttributeOf(const OrtKernelInfo* info, const char* name) {
  std::int64_t value = 0;
  Check(GetApi()(kKernelInfoGetInt64, info, name, &value));
  return value;
}

float FractionOf(const OrtKernelInfo* info, const char* name) {
  float value = 0;
  Check(GetApi()(kKernelInfoGetFloat, info, name, &value));
  return value;
}

}  // namespace llmrouter::ort
