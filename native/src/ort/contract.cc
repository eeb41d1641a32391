#include "ort/contract.h"

#include <algorithm>
#include <map>

namespace llmrouter::ort {
namespace {

constexpr std::int64_t kOpen = -1;
constexpr std::size_t kNone = static_cast<std::size_t>(-1);

std::string Describe(int type, const std::vector<std::int64_t>& shape) {
  static const std::map<int, std::string> names = {{kTypeFloat, "float32"},
                                                   {kTypeFloat16, "float16"},
                                                   {kTypeBfloat16, "bfloat16"},
                                                   {kTypeInt64, "int64"}};
  const auto name = names.find(type);
  std::string text = name != names.end() ? name->second : "element type " + std::to_string(type);
  text += " [";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (shape[i] == kOpen ? "?" : std::to_string(shape[i]));
  }
  return text + "]";
}

/// `fixable`: the dimension that may be fixed although it is open, or none.
bool Fits(const TensorDescription& found, const TensorDescription& expected, std::size_t fixable) {
  if (found.type != expected.type || found.shape.size() != expected.shape.size()) return false;
  for (std::size_t i = 0; i < found.shape.size(); ++i) {
    const std::int64_t a = found.shape[i];
    const std::int64_t b = expected.shape[i];
    if (b == kOpen ? a != kOpen && i != fixable : a != kOpen && a != b) return false;
  }
  return true;
}

void CheckSide(const OrtModel& model, const char* side, const std::vector<TensorDescription>& found,
               const std::vector<TensorDescription>& expected) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kModelUnavailable, model.path + ": " + what);
  };
  std::map<std::string, const TensorDescription*> by_name;
  for (const TensorDescription& tensor : found) by_name[tensor.name] = &tensor;
  for (const TensorDescription& tensor : expected) {
    const auto at = by_name.find(tensor.name);
    if (at == by_name.end()) fail("lacks the " + std::string(side) + " " + tensor.name);
    // Graphs may compute the logits of a single position.
    const std::size_t fixable = tensor.name == model.logits ? 1 : kNone;
    if (!Fits(*at->second, tensor, fixable)) {
      fail(std::string(side) + " " + tensor.name + " is " +
           Describe(at->second->type, at->second->shape) + ", supported is " +
           Describe(tensor.type, tensor.shape));
    }
    by_name.erase(at);
  }
  // Outputs nobody asked for are not computed; an input nobody feeds cannot run.
  if (std::string(side) == "input" && !by_name.empty()) {
    fail("needs the input " + by_name.begin()->first + ", which is not supported");
  }
}

/// The type of a tensor that has one of the types of `Element`; float32 where it is missing or has
/// another, which it is then told to be.
Element ElementIn(const std::vector<TensorDescription>& tensors, const std::string& name) {
  const auto at = std::ranges::find(tensors, name, &TensorDescription::name);
  if (at == tensors.end()) return Element::kFloat32;
  return ElementOf(at->type).value_or(Element::kFloat32);
}

bool TakesLogitsToKeep(const Session& session) {
  return std::ranges::any_of(session.optional_inputs(), [](const TensorDescription& input) {
    return input.name == kLogitsToKeep && input.type == kTypeInt64 &&
           input.shape == std::vector<std::int64_t>{1};
  });
}

}  // namespace

std::string LayerName(const std::string& pattern, int layer) {
  const std::size_t at = pattern.find("%d");
  if (at == std::string::npos || pattern.find('%', at + 1) != std::string::npos) {
    throw Error(ErrorCode::kModelUnavailable,
                "tensor name '" + pattern + "' must have one %d for the layer");
  }
  std::string name = pattern;
  return name.replace(at, 2, std::to_string(layer));
}

Contract ReadContract(const OrtModel& model, const Session& session) {
  const Contract contract = {ElementIn(session.inputs(), LayerName(model.past_key, 0)),
                             ElementIn(session.outputs(), model.logits),
                             TakesLogitsToKeep(session)};
  if (model.cuda_device >= 0 && contract.cache == Element::kFloat32) {
    throw Error(ErrorCode::kModelUnavailable,
                model.path + ": its keys and values are float32, attention on CUDA takes float16 " +
                    "or bfloat16");
  }
  const int cache_type = TypeOf(contract.cache);
  const std::vector<std::int64_t> cache = {kOpen, model.kv_heads, kOpen, model.head_size};
  std::vector<TensorDescription> inputs = {{model.input_ids, kTypeInt64, {kOpen, kOpen}},
                                           {model.attention_mask, kTypeInt64, {kOpen, kOpen}}};
  std::vector<TensorDescription> outputs = {
      {model.logits, TypeOf(contract.logits), {kOpen, kOpen, model.vocabulary}}};
  for (int layer = 0; layer < model.layers; ++layer) {
    inputs.push_back({LayerName(model.past_key, layer), cache_type, cache});
    inputs.push_back({LayerName(model.past_value, layer), cache_type, cache});
    outputs.push_back({LayerName(model.present_key, layer), cache_type, cache});
    outputs.push_back({LayerName(model.present_value, layer), cache_type, cache});
  }
  CheckSide(model, "input", session.inputs(), inputs);
  CheckSide(model, "output", session.outputs(), outputs);
  return contract;
}

void CheckPackedContract(const OrtModel& model, const Session& session) {
  CheckSide(model, "input", session.inputs(), {{model.input_ids, kTypeInt64, {kOpen, kOpen}}});
  CheckSide(model, "output", session.outputs(),
            {{model.logits, kTypeFloat, {kOpen, kOpen, model.vocabulary}}});
}

}  // namespace llmrouter::ort
