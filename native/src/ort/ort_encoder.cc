#include "llmrouter/ort_encoder.h"

#include <algorithm>
#include <array>
#include <optional>

#include "llmrouter/error.h"
#include "llmrouter/ort_decoder.h"
#include "ort/element.h"
#include "ort/ort_api.h"
#include "ort/session.h"

namespace llmrouter {
namespace {

using namespace ort;  // NOLINT: this file is the part of it that others see.

[[noreturn]] void Fail(const std::string& message) {
  throw Error(ErrorCode::kGenerationFailed, message);
}

std::vector<OrtEncoder::Tensor> TensorsOf(const std::vector<TensorDescription>& descriptions) {
  std::vector<OrtEncoder::Tensor> tensors;
  for (const TensorDescription& one : descriptions) tensors.push_back({one.name, one.shape});
  return tensors;
}

OrtModel ModelOf(const std::string& path, std::size_t memory_limit) {
  OrtModel model;
  model.path = path;
  model.memory_limit = memory_limit;
  return model;
}

std::string Written(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

/// The values of a tensor that must have a shape; nothing is copied of another.
std::vector<float> ToFloats(const std::string& name, OrtValue* value,
                            std::span<const std::int64_t> expected) {
  const std::vector<std::int64_t> shape = ShapeOf(value);
  if (!std::ranges::equal(shape, expected)) {
    // Others might be spread over the rows without a word.
    Fail(name + " has the shape " + Written(shape) + "; it must be " + Written(expected));
  }
  int type = 0;
  const auto info = Create<TensorInfoPtr>(kGetTensorTypeAndShape, value);
  Check(GetApi()(kGetTensorElementType, info.get(), &type));
  const std::optional<Element> element = ElementOf(type);
  if (!element) Fail("the output " + name + " is neither float, float16 nor bfloat16");
  void* data = nullptr;
  Check(GetApi()(kGetTensorMutableData, value, &data));
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  std::vector<float> values(count);
  Widen(*element, data, values);
  return values;
}

}  // namespace

struct RunEnding::State {
  RunOptionsPtr options = Create<RunOptionsPtr>(kCreateRunOptions);
};

RunEnding::RunEnding() : state_(std::make_unique<State>()) {}

RunEnding::~RunEnding() = default;

void RunEnding::End() { Check(GetApi()(kRunOptionsSetTerminate, state_->options.get())); }

struct OrtEncoder::State {
  Session session;
};

OrtEncoder::OrtEncoder(const std::string& path, std::size_t memory_limit)
    : state_(new State{Session(ModelOf(path, memory_limit))}),
      inputs_(TensorsOf(state_->session.inputs())),
      outputs_(TensorsOf(state_->session.outputs())) {}

OrtEncoder::~OrtEncoder() = default;

std::vector<float> OrtEncoder::Run(const std::string& output, std::int64_t width,
                                   std::span<const Feed> feeds, const RunEnding& ending) {
  if (feeds.empty()) Fail("the graph takes nothing");
  std::vector<const char*> names;
  std::vector<ValuePtr> owned;
  std::vector<const OrtValue*> values;
  for (const Feed& feed : feeds) {
    const std::array<std::int64_t, 2> shape = {feed.rows, feed.columns};
    names.push_back(feed.name.c_str());
    // ONNX Runtime does not write to what it is fed.
    owned.push_back(WrapTensor(const_cast<std::int64_t*>(feed.data), shape));
    values.push_back(owned.back().get());
  }
  const char* wanted = output.c_str();
  OrtValue* result = nullptr;
  const MemoryBudget::Scope counted(&state_->session.memory());
  OrtStatus* status =
      GetApi()(kRun, state_->session.get(), ending.state_->options.get(), names.data(),
               values.data(), values.size(), &wanted, std::size_t{1}, &result);
  if (status != nullptr) Fail("ONNX Runtime: " + TakeMessage(status));
  const ValuePtr owned_result(result);
  const std::array<std::int64_t, 3> shape = {feeds[0].rows, feeds[0].columns, width};
  return ToFloats(output, owned_result.get(), shape);
}

}  // namespace llmrouter
