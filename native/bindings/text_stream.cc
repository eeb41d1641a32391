#include "llmrouter/text_stream.h"

#include <pybind11/stl.h>

#include "bindings.h"

namespace py = pybind11;

namespace llmrouter::bindings {

void BindTextStream(py::module_& module) {
  py::class_<TextStream>(module, "TextStream")
      .def(py::init<std::vector<std::string>>(), py::arg("stops"))
      .def(
          "push",
          [](TextStream& stream, const py::bytes& bytes) {
            return stream.Push(std::string_view(bytes));
          },
          py::arg("data"))
      .def("finish", &TextStream::Finish)
      .def_property_readonly("stopped", &TextStream::stopped)
      .def_property_readonly("matched", &TextStream::matched);
}

}  // namespace llmrouter::bindings
