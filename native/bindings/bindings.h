#pragma once

#include <pybind11/pybind11.h>

namespace llmrouter::bindings {

void BindErrors(pybind11::module_& module);
void BindVocabulary(pybind11::module_& module);
void BindDecoder(pybind11::module_& module);
void BindEncoder(pybind11::module_& module);
void BindEvents(pybind11::module_& module);
void BindGrammar(pybind11::module_& module);
void BindEngine(pybind11::module_& module);
void BindTextStream(pybind11::module_& module);
void BindSequenceBatcher(pybind11::module_& module);

}  // namespace llmrouter::bindings
