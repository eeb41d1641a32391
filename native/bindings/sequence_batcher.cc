#include "llmrouter/sequence_batcher.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "bindings.h"

namespace py = pybind11;

namespace llmrouter::bindings {
namespace {

/// Far times would overflow the clock; nothing runs for a year. What is no number passes through
/// any clamp, and has no meaning as a time.
Clock::duration Duration(const char* name, double seconds) {
  if (!std::isfinite(seconds)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        std::string(name) + " must be a finite number of seconds, got " + std::to_string(seconds));
  }
  return std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(std::clamp(seconds, 0.0, 3e7)));
}

std::unique_ptr<SequenceBatcher> Make(int max_waiting, int max_batch, int max_positions,
                                      double max_padding, double window, double ageing) {
  BatcherOptions options;
  options.max_waiting = max_waiting;
  options.ageing = Duration("ageing", ageing);
  options.grouping = {max_batch, max_positions, max_padding, Duration("window", window)};
  return std::make_unique<SequenceBatcher>(options);
}

RequestId Submit(SequenceBatcher& batcher, int length, Priority priority,
                 std::optional<double> timeout, std::int64_t kind) {
  std::optional<Clock::time_point> deadline;
  if (timeout) deadline = Clock::now() + Duration("timeout", *timeout);
  return batcher.Submit(length, priority, deadline, kind);
}

void BindStatistics(py::module_& module) {
  py::class_<BatcherStatistics>(module, "BatcherStatistics")
      .def_readonly("waiting", &BatcherStatistics::waiting)
      .def_readonly("running", &BatcherStatistics::running)
      .def_readonly("batches", &BatcherStatistics::batches)
      .def_readonly("requests", &BatcherStatistics::requests)
      .def_readonly("tokens", &BatcherStatistics::tokens)
      .def_readonly("positions", &BatcherStatistics::positions)
      .def_readonly("completion_tokens", &BatcherStatistics::completion_tokens)
      .def_readonly("expired", &BatcherStatistics::expired)
      .def_readonly("batch_seconds", &BatcherStatistics::batch_seconds)
      .def_readonly("estimated_wait_seconds", &BatcherStatistics::estimated_wait_seconds);
}

}  // namespace

void BindSequenceBatcher(py::module_& module) {
  using Released = py::call_guard<py::gil_scoped_release>;
  BindStatistics(module);
  py::classh<SequenceBatcher>(module, "SequenceBatcher")
      .def(py::init(&Make), py::kw_only(), py::arg("max_waiting"), py::arg("max_batch"),
           py::arg("max_positions"), py::arg("max_padding"), py::arg("window"),
           py::arg("ageing") = 10.0)
      .def("submit", &Submit, py::arg("length"), py::kw_only(),
           py::arg("priority") = Priority::kNormal, py::arg("timeout") = std::nullopt,
           py::arg("kind") = 0, Released())
      .def("room", &SequenceBatcher::Room, Released())
      .def("cancel", &SequenceBatcher::Cancel, py::arg("request_id"), Released())
      .def(
          "take",
          [](SequenceBatcher& batcher, double patience) {
            return batcher.Take(Duration("patience", patience));
          },
          py::arg("patience"), Released())
      .def("wanted", &SequenceBatcher::Wanted, py::arg("request_id"), Released())
      .def("publish", &SequenceBatcher::Publish, py::arg("request_id"), py::arg("text"),
           py::arg("tokens"), Released())
      .def("finish", &SequenceBatcher::Finish, py::arg("request_id"), py::arg("reason"),
           py::arg("stop") = "", py::arg("completion_tokens") = 0, Released())
      .def("fail", &SequenceBatcher::Fail, py::arg("request_id"), py::arg("code"),
           py::arg("message"), Released())
      .def("stop", &SequenceBatcher::Stop, Released())
      .def("drain", &SequenceBatcher::Drain, Released())
      .def("statistics", &SequenceBatcher::Statistics, Released())
      .def_property_readonly("stopped", &SequenceBatcher::stopped)
      .def_property_readonly("event_fd", &SequenceBatcher::event_fd);
}

}  // namespace llmrouter::bindings
