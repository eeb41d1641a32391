#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "llmrouter/ort_decoder.h"
#include "ort/memory_budget.h"
#include "ort/operator_domain.h"
#include "ort/ort_api.h"
#include "ort/packed_step.h"

namespace llmrouter::ort {

/// A named tensor of a graph. Dimensions the graph leaves open are -1.
struct TensorDescription {
  std::string name;
  int type = 0;
  std::vector<std::int64_t> shape;
};

/// A loaded graph on the shared thread pool.
class Session {
 public:
  /// Loads the model's file, or its graph in memory where it has one. Throws kModelUnavailable with
  /// the library's own words. `step` is what a packed graph runs over, and outlives the session.
  explicit Session(const OrtModel& model, const PackedStep* step = nullptr);

  const std::vector<TensorDescription>& inputs() const { return inputs_; }
  const std::vector<TensorDescription>& outputs() const { return outputs_; }
  /// Inputs that have a default and need not be fed.
  const std::vector<TensorDescription>& optional_inputs() const { return optional_inputs_; }

  OrtSession* get() const { return session_.get(); }
  /// What the session holds and may hold. Runs count towards it.
  MemoryBudget& memory() const { return *memory_; }

 private:
  void Describe();

  // Before the session, which uses them to its end.
  std::unique_ptr<MemoryBudget> memory_;
  std::unique_ptr<OperatorDomain> domain_;
  SessionPtr session_;
  std::vector<TensorDescription> inputs_;
  std::vector<TensorDescription> outputs_;
  std::vector<TensorDescription> optional_inputs_;
};

/// What ONNX Runtime calls the computer's own memory.
const OrtMemoryInfo* CpuMemory();

/// A tensor of a type of ONNX Runtime's number over memory that the caller keeps alive.
ValuePtr WrapMemory(const OrtMemoryInfo* where, void* data, std::size_t bytes,
                    std::span<const std::int64_t> shape, int type);

/// A tensor over memory of the computer that the caller keeps alive.
template <typename T>
ValuePtr WrapTensor(T* data, std::span<const std::int64_t> shape);

/// The shape of a tensor.
std::vector<std::int64_t> ShapeOf(const OrtValue* value);

}  // namespace llmrouter::ort
