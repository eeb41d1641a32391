#include "llmrouter/vocabulary.h"

#include <pybind11/stl.h>

#include "bindings.h"

namespace py = pybind11;

namespace llmrouter::bindings {

void BindVocabulary(py::module_& module) {
  py::class_<Vocabulary>(module, "Vocabulary")
      .def(py::init([](const std::vector<py::bytes>& tokens, std::vector<TokenId> end_tokens) {
             const std::vector<std::string> bytes(tokens.begin(), tokens.end());
             return Vocabulary(bytes, std::move(end_tokens));
           }),
           py::arg("tokens"), py::arg("end_tokens"));
}

}  // namespace llmrouter::bindings
