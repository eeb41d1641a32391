#include "ort/binding.h"

#include <cstddef>

namespace llmrouter::ort {
namespace {

std::optional<Failure> FailureOf(OrtStatus* status) {
  if (status == nullptr) return std::nullopt;
  return Failure{"ONNX Runtime: " + TakeMessage(status)};
}

}  // namespace

Binding::Binding(const Session& session)
    : session_(session.get()),
      memory_(&session.memory()),
      binding_(Create<BindingPtr>(kCreateIoBinding, session_)) {}

std::optional<Failure> Binding::Input(const char* name, const OrtValue* value) {
  return FailureOf(GetApi()(kBindInput, binding_.get(), name, value));
}

std::optional<Failure> Binding::Output(const char* name, const OrtValue* value) {
  return FailureOf(GetApi()(kBindOutput, binding_.get(), name, value));
}

std::optional<Failure> Binding::OutputToHost(const char* name) {
  return FailureOf(GetApi()(kBindOutputToDevice, binding_.get(), name, CpuMemory()));
}

std::optional<Failure> Binding::Run() {
  const MemoryBudget::Scope counted(memory_);
  if (auto failure = FailureOf(GetApi()(kSynchronizeBoundInputs, binding_.get()))) return failure;
  const OrtRunOptions* defaults = nullptr;
  return FailureOf(GetApi()(kRunWithBinding, session_, defaults, binding_.get()));
}

std::optional<Failure> Binding::TakeFirstOutput(const char* name, ValuePtr* output) {
  const Api& api = GetApi();
  OrtAllocator* allocator = nullptr;
  OrtValue** values = nullptr;
  std::size_t count = 0;
  auto failure = FailureOf(api(kGetDefaultAllocator, &allocator));
  if (failure) return failure;
  failure = FailureOf(api(kGetBoundOutputValues, binding_.get(), allocator, &values, &count));
  if (failure) return failure;
  for (std::size_t i = 0; i < count; ++i) {
    ValuePtr value(values[i]);
    if (i == 0) *output = std::move(value);
  }
  failure = FailureOf(api(kAllocatorFree, allocator, static_cast<void*>(values)));
  return failure ? failure : OutputToHost(name);
}

}  // namespace llmrouter::ort
