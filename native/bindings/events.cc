#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include "bindings.h"
#include "llmrouter/request.h"

namespace py = pybind11;

namespace llmrouter::bindings {
namespace {

py::bytes LogitBytes(const Finished& finished) {
  return {reinterpret_cast<const char*>(finished.logits.data()),
          finished.logits.size() * sizeof(float)};
}

void BindLogprobs(py::module_& module) {
  py::class_<TokenLogprob>(module, "TokenLogprob")
      .def_readonly("token", &TokenLogprob::token)
      .def_readonly("logprob", &TokenLogprob::logprob)
      .def_property_readonly("bytes",
                             [](const TokenLogprob& told) { return py::bytes(told.bytes); });

  py::class_<SampledLogprob>(module, "SampledLogprob")
      .def_readonly("sampled", &SampledLogprob::sampled)
      .def_readonly("top", &SampledLogprob::top);
}

}  // namespace

void BindEvents(py::module_& module) {
  py::native_enum<FinishReason>(module, "FinishReason", "enum.Enum")
      .value("STOP", FinishReason::kStop)
      .value("LENGTH", FinishReason::kLength)
      .value("CANCELLED", FinishReason::kCancelled)
      .finalize();

  BindLogprobs(module);
  py::class_<TextDelta>(module, "TextDelta")
      .def_readonly("id", &TextDelta::id)
      .def_readonly("answer", &TextDelta::answer)
      .def_readonly("text", &TextDelta::text)
      .def_readonly("tokens", &TextDelta::tokens)
      .def_readonly("logprobs", &TextDelta::logprobs)
      .def_readonly("ids", &TextDelta::ids);

  py::class_<Timings>(module, "Timings")
      .def_readonly("queue", &Timings::queue)
      .def_readonly("prefill", &Timings::prefill)
      .def_readonly("decode", &Timings::decode)
      .def_readonly("first_token", &Timings::first_token);

  py::class_<Finished>(module, "Finished")
      .def_readonly("id", &Finished::id)
      .def_readonly("answer", &Finished::answer)
      .def_readonly("reason", &Finished::reason)
      .def_readonly("stop", &Finished::stop)
      .def_readonly("prompt_tokens", &Finished::prompt_tokens)
      .def_readonly("cached_prompt_tokens", &Finished::cached_prompt_tokens)
      .def_readonly("completion_tokens", &Finished::completion_tokens)
      .def_readonly("timings", &Finished::timings)
      .def_readonly("tokens", &Finished::tokens)
      .def_property_readonly("logits", &LogitBytes);

  py::class_<Failed>(module, "Failed")
      .def_readonly("id", &Failed::id)
      .def_readonly("code", &Failed::code)
      .def_readonly("message", &Failed::message);
}

}  // namespace llmrouter::bindings
