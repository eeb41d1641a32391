#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bindings.h"
#include "llmrouter/ort_encoder.h"

namespace py = pybind11;

namespace llmrouter::bindings {
namespace {

using Rows = py::array_t<std::int64_t, py::array::c_style>;

py::array_t<float> Run(OrtEncoder& encoder, const std::string& output, std::int64_t width,
                       const std::map<std::string, Rows>& feeds, const RunEnding& ending) {
  std::vector<OrtEncoder::Feed> fed;
  for (const auto& [name, rows] : feeds) {
    if (rows.ndim() != 2) throw py::value_error("inputs are [rows, columns]");
    fed.push_back({name, rows.data(), rows.shape(0), rows.shape(1)});
  }
  auto values = std::make_unique<std::vector<float>>();
  {
    const py::gil_scoped_release released;
    *values = encoder.Run(output, width, fed, ending);
  }
  // The array keeps the values where they are.
  const std::vector<std::int64_t> shape = {fed[0].rows, fed[0].columns, width};
  const float* data = values->data();
  const py::capsule owner(values.release(),
                          [](void* held) { delete static_cast<std::vector<float>*>(held); });
  return py::array_t<float>(shape, data, owner);
}

}  // namespace

void BindEncoder(py::module_& module) {
  py::class_<RunEnding>(module, "RunEnding").def(py::init<>()).def("end", &RunEnding::End);

  py::class_<OrtEncoder::Tensor>(module, "EncoderTensor")
      .def_readonly("name", &OrtEncoder::Tensor::name)
      .def_readonly("shape", &OrtEncoder::Tensor::shape);

  py::class_<OrtEncoder>(module, "OrtEncoder")
      .def(py::init<const std::string&, std::size_t>(), py::arg("path"), py::kw_only(),
           py::arg("memory_limit"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("inputs", &OrtEncoder::inputs)
      .def_property_readonly("outputs", &OrtEncoder::outputs)
      .def("run", &Run, py::arg("output"), py::kw_only(), py::arg("width"), py::arg("feeds"),
           py::arg("ending"));
}

}  // namespace llmrouter::bindings
