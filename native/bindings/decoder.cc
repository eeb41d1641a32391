#include "llmrouter/decoder.h"

#include "bindings.h"
#include "llmrouter/ort_decoder.h"

namespace py = pybind11;

namespace llmrouter::bindings {

void BindDecoder(py::module_& module) {
  py::class_<OrtModel>(module, "OrtModel")
      .def(py::init<>())
      .def_readwrite("path", &OrtModel::path)
      .def_readwrite("vocabulary", &OrtModel::vocabulary)
      .def_readwrite("layers", &OrtModel::layers)
      .def_readwrite("kv_heads", &OrtModel::kv_heads)
      .def_readwrite("head_size", &OrtModel::head_size)
      .def_readwrite("input_ids", &OrtModel::input_ids)
      .def_readwrite("attention_mask", &OrtModel::attention_mask)
      .def_readwrite("logits", &OrtModel::logits)
      .def_readwrite("past_key", &OrtModel::past_key)
      .def_readwrite("past_value", &OrtModel::past_value)
      .def_readwrite("present_key", &OrtModel::present_key)
      .def_readwrite("present_value", &OrtModel::present_value);

  py::classh<Decoder>(module, "Decoder");

  module.def("load_onnx_runtime", &LoadOnnxRuntime, py::arg("library"), py::arg("threads"),
             py::call_guard<py::gil_scoped_release>());
  module.def("load_ort_decoder", &LoadOrtDecoder, py::arg("model"), py::kw_only(), py::arg("slots"),
             py::arg("context"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace llmrouter::bindings
