#pragma once

#include <optional>

#include "llmrouter/error.h"
#include "ort/ort_api.h"
#include "ort/session.h"

namespace llmrouter::ort {

/// Inputs and outputs that stay bound from run to run, until others take their names. A value may
/// be released once it is bound; the memory it lies over may not.
class Binding {
 public:
  /// `session` outlives the binding. Throws kModelUnavailable.
  explicit Binding(const Session& session);

  /// Binds a value; what lies elsewhere than the graph computes is copied there now.
  std::optional<Failure> Input(const char* name, const OrtValue* value);
  /// Binds a value for the graph to write to, wherever it lies.
  std::optional<Failure> Output(const char* name, const OrtValue* value);
  /// Lets each run allocate an output in the computer's memory.
  std::optional<Failure> OutputToHost(const char* name);

  std::optional<Failure> Run();

  /// Takes what the last run allocated for `name`, the output that was bound first: the binding
  /// would keep it until the next run otherwise.
  std::optional<Failure> TakeFirstOutput(const char* name, ValuePtr* output);

 private:
  OrtSession* session_;
  MemoryBudget* memory_;
  BindingPtr binding_;
};

}  // namespace llmrouter::ort
