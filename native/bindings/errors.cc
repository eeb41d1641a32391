#include <pybind11/native_enum.h>

#include "bindings.h"
#include "llmrouter/error.h"

namespace py = pybind11;

namespace llmrouter::bindings {

void BindErrors(py::module_& module) {
  py::native_enum<ErrorCode>(module, "ErrorCode", "enum.Enum")
      .value("INVALID_ARGUMENT", ErrorCode::kInvalidArgument)
      .value("UNSUPPORTED_OPTION", ErrorCode::kUnsupportedOption)
      .value("QUEUE_FULL", ErrorCode::kQueueFull)
      .value("CONTEXT_TOO_LONG", ErrorCode::kContextTooLong)
      .value("MODEL_UNAVAILABLE", ErrorCode::kModelUnavailable)
      .value("GENERATION_FAILED", ErrorCode::kGenerationFailed)
      .value("DEADLINE_EXCEEDED", ErrorCode::kDeadlineExceeded)
      .value("SLOW_READER", ErrorCode::kSlowReader)
      .value("STOPPED", ErrorCode::kStopped)
      .finalize();

  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> error_class;
  error_class.call_once_and_store_result(
      [&] { return py::object(py::exception<Error>(module, "EngineError")); });
  py::register_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const Error& error) {
      const py::object& type = error_class.get_stored();
      py::object raised = type(error.what());
      raised.attr("code") = py::cast(error.code());
      raised.attr("field") = error.field();
      raised.attr("description") = error.description();
      PyErr_SetObject(type.ptr(), raised.ptr());
    }
  });
}

}  // namespace llmrouter::bindings
