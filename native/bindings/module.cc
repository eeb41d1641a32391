#include "bindings.h"

PYBIND11_MODULE(_native, module) {
  module.doc() = "The compiled engine. Private: use llmrouter.inference.backends.";
  llmrouter::bindings::BindErrors(module);
  llmrouter::bindings::BindVocabulary(module);
  llmrouter::bindings::BindDecoder(module);
  llmrouter::bindings::BindEncoder(module);
  llmrouter::bindings::BindEvents(module);
  llmrouter::bindings::BindGrammar(module);
  llmrouter::bindings::BindEngine(module);
  llmrouter::bindings::BindTextStream(module);
  llmrouter::bindings::BindSequenceBatcher(module);
}
