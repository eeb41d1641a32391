#pragma once

// The part of ONNX Runtime's C interface by which an operator of our own is described. Like the
// table of functions it only grows at its end; the members stand in the published order, and those
// that may be absent are null.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <vector>

#include "first_failure.h"
#include "ort/ort_api.h"

namespace llmrouter::ort {

inline constexpr int kRequired = 0;
inline constexpr int kDefaultMemory = 0;
inline constexpr char kCpuProvider[] = "CPUExecutionProvider";

struct OrtCustomOp {
  /// The version of the interface whose members are all here.
  std::uint32_t version = kApiVersion;

  /// The first forms of what `create_kernel_v2` and `compute_v2` do, without errors.
  void* create_kernel = nullptr;
  const char* (*get_name)(const OrtCustomOp* op) = nullptr;
  const char* (*get_provider)(const OrtCustomOp* op) = nullptr;
  int (*get_input_type)(const OrtCustomOp* op, std::size_t index) = nullptr;
  std::size_t (*get_input_count)(const OrtCustomOp* op) = nullptr;
  int (*get_output_type)(const OrtCustomOp* op, std::size_t index) = nullptr;
  std::size_t (*get_output_count)(const OrtCustomOp* op) = nullptr;
  void* compute = nullptr;
  void (*destroy_kernel)(void* kernel) = nullptr;
  int (*get_input_kind)(const OrtCustomOp* op, std::size_t index) = nullptr;
  int (*get_output_kind)(const OrtCustomOp* op, std::size_t index) = nullptr;
  int (*get_input_memory)(const OrtCustomOp* op, std::size_t index) = nullptr;
  /// Of variadic inputs and outputs, which we have none of.
  void* variadic[4] = {};
  OrtStatus* (*create_kernel_v2)(const OrtCustomOp* op, const void* api, const OrtKernelInfo* info,
                                 void** kernel) = nullptr;
  OrtStatus* (*compute_v2)(void* kernel, OrtKernelContext* context) = nullptr;
  void* infer_shape = nullptr;
  int (*get_first_version)(const OrtCustomOp* op) = nullptr;
  int (*get_last_version)(const OrtCustomOp* op) = nullptr;
  /// Inputs that outputs may be written over or stand for, and how those lists are freed.
  void* sharing[4] = {};
};

/// An operator of our own over float tensors: what the library is given, with what
/// its kernels are made from behind it.
struct Operator : OrtCustomOp {
  const char* name = nullptr;
  std::size_t inputs = 1;
  std::size_t outputs = 1;
};

/// Runs `body`; what it throws becomes a status, for nothing may be thrown through the library.
template <typename Body>
OrtStatus* Guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return GetApi()(kCreateStatus, kErrorFail, error.what());
  }
}

/// Fills in the description of `op`. `Op` is an Operator; its `Kernel` is made from the operator
/// and a node's OrtKernelInfo, and computes with an OrtKernelContext.
template <typename Op>
void Describe(const char* name, std::size_t inputs, Op* op, std::size_t outputs = 1) {
  using Kernel = typename Op::Kernel;
  op->name = name;
  op->inputs = inputs;
  op->outputs = outputs;
  op->get_name = +[](const OrtCustomOp* self) { return static_cast<const Op*>(self)->name; };
  op->get_provider = +[](const OrtCustomOp*) -> const char* { return kCpuProvider; };
  op->get_input_type = +[](const OrtCustomOp*, std::size_t) { return kTypeFloat; };
  op->get_input_count =
      +[](const OrtCustomOp* self) { return static_cast<const Op*>(self)->inputs; };
  op->get_output_type = op->get_input_type;
  op->get_output_count =
      +[](const OrtCustomOp* self) { return static_cast<const Op*>(self)->outputs; };
  op->get_input_kind = +[](const OrtCustomOp*, std::size_t) { return kRequired; };
  op->get_output_kind = op->get_input_kind;
  op->get_input_memory = +[](const OrtCustomOp*, std::size_t) { return kDefaultMemory; };
  op->get_first_version = +[](const OrtCustomOp*) { return 1; };
  op->get_last_version = op->get_first_version;
  op->create_kernel_v2 =
      +[](const OrtCustomOp* self, const void* /*api*/, const OrtKernelInfo* info, void** kernel) {
        return Guarded([&] { *kernel = new Kernel(*static_cast<const Op*>(self), info); });
      };
  op->compute_v2 = +[](void* kernel, OrtKernelContext* context) {
    return Guarded([&] { static_cast<Kernel*>(kernel)->Compute(context); });
  };
  op->destroy_kernel = +[](void* kernel) { delete static_cast<Kernel*>(kernel); };
}

/// A tensor that a kernel is given: its shape and its values.
struct KernelInput {
  std::vector<std::int64_t> shape;
  const float* data = nullptr;
};
KernelInput InputOf(OrtKernelContext* context, std::size_t index);

/// Makes an output of a kernel.
float* OutputOf(OrtKernelContext* context, std::span<const std::int64_t> shape,
                std::size_t index = 0);

/// A whole number, and a fraction, among a node's attributes.
std::int64_t AttributeOf(const OrtKernelInfo* info, const char* name);
float FractionOf(const OrtKernelInfo* info, const char* name);

/// Calls `body` for each of `count` numbers on the session's threads; throws what it threw first,
/// once all are done.
template <typename Body>
void Share(const OrtKernelContext* context, std::size_t count, const Body& body) {
  struct Shared {
    const Body& body;
    FirstFailure failure;
  } shared{body, {}};
  const auto call = +[](void* given, std::size_t index) {
    auto& mine = *static_cast<Shared*>(given);
    mine.failure.Catch([&] { mine.body(index); });
  };
  Check(GetApi()(kKernelContextParallelFor, context, call, count, std::size_t{0}, &shared));
  shared.failure.Rethrow();
}

/// Calls `body` with the beginning and the end of parts of `count` things of `size` values each,
/// on the session's threads where there are so many that others wake in time.
template <typename Body>
void ShareInParts(const OrtKernelContext* context, std::size_t count, std::size_t size,
                  const Body& body) {
  constexpr std::size_t kWorthSharing = 1 << 15;
  constexpr std::size_t kParts = 8;
  if (count * size < kWorthSharing) return body(std::size_t{0}, count);
  Share(context, kParts,
        [&](std::size_t part) { body(count * part / kParts, count * (part + 1) / kParts); });
}

}  // namespace llmrouter::ort
