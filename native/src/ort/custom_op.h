#pragma once

// The part of ONNX Runtime's C interface by which an operator of our own is described. Like the
// table of functions it only grows at its end; the members stand in the published order, and those
// that may be absent are null.

#include <cstddef>
#include <cstdint>

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

}  // namespace llmrouter::ort
