#include <pybind11/stl.h>

#include "bindings.h"
#include "llmrouter/grammar_compiler.h"

namespace py = pybind11;

namespace llmrouter::bindings {

void BindGrammar(py::module_& module) {
  py::classh<Grammar>(module, "Grammar");
  py::classh<GrammarCompiler>(module, "GrammarCompiler")
      .def(py::init([](const std::string& library, const std::vector<py::bytes>& tokens,
                       const std::vector<TokenId>& end_tokens) {
             const std::vector<std::string> bytes(tokens.begin(), tokens.end());
             const py::gil_scoped_release release;
             return std::make_unique<GrammarCompiler>(library, bytes, end_tokens);
           }),
           py::arg("library"), py::arg("tokens"), py::arg("end_tokens"))
      .def("compile", &GrammarCompiler::Compile, py::arg("kind"), py::arg("text"),
           py::call_guard<py::gil_scoped_release>());
}

}  // namespace llmrouter::bindings
