#include "llmrouter/decoder.h"

#include <pybind11/stl.h>

#include "bindings.h"
#include "llmrouter/ort_decoder.h"
#include "llmrouter/processor.h"

namespace py = pybind11;

namespace llmrouter::bindings {

void BindDecoder(py::module_& module) {
  py::class_<Processor>(module, "Processor")
      .def_readonly("avx2", &Processor::avx2)
      .def_readonly("vnni", &Processor::vnni)
      .def_readonly("avx512_vnni", &Processor::avx512_vnni);
  module.def("detect_processor", &DetectProcessor);

  py::class_<NativeMatrix>(module, "NativeMatrix")
      .def(py::init<>())
      .def_readwrite("file", &NativeMatrix::file)
      .def_readwrite("columns", &NativeMatrix::columns)
      .def_readwrite("depth", &NativeMatrix::depth)
      .def_readwrite("bits", &NativeMatrix::bits)
      .def_readwrite("data_offset", &NativeMatrix::data_offset)
      .def_readwrite("scales_offset", &NativeMatrix::scales_offset)
      .def_readwrite("zero_points_offset", &NativeMatrix::zero_points_offset);

  py::class_<SharedWeights>(module, "SharedWeights");
  module.def("find_shared_weights", &FindSharedWeights, py::arg("path"), py::arg("matrices"),
             py::call_guard<py::gil_scoped_release>());
  module.def("write_shared_weights", &WriteSharedWeights, py::arg("path"), py::arg("matrices"),
             py::call_guard<py::gil_scoped_release>());

  py::class_<OrtModel>(module, "OrtModel")
      .def(py::init<>())
      .def_readwrite("path", &OrtModel::path)
      .def_property(
          "graph", [](const OrtModel& model) { return py::bytes(model.graph); },
          [](OrtModel& model, const py::bytes& graph) { model.graph = graph; })
      .def_readwrite("matrices", &OrtModel::matrices)
      .def_readwrite("shared_weights", &OrtModel::shared_weights)
      .def_readwrite("packed", &OrtModel::packed)
      .def_readwrite("rounds_alike", &OrtModel::rounds_alike)
      .def_readwrite("half_cache", &OrtModel::half_cache)
      .def_readwrite("cuda_device", &OrtModel::cuda_device)
      .def_readwrite("memory_limit", &OrtModel::memory_limit)
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
  module.def("available_providers", &AvailableProviders);
  module.def("load_ort_decoder", &LoadOrtDecoder, py::arg("model"), py::kw_only(), py::arg("slots"),
             py::arg("context"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace llmrouter::bindings
