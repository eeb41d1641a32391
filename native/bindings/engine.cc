#include "llmrouter/engine.h"

#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "bindings.h"
#include "llmrouter/constraint.h"

namespace py = pybind11;

namespace llmrouter::bindings {
namespace {

RequestId Submit(Engine& engine, std::vector<TokenId> prompt, float temperature, int top_k,
                 float top_p, std::uint64_t seed, int max_tokens, std::vector<std::string> stop,
                 Priority priority, std::optional<double> timeout, std::uint64_t scope, bool trace,
                 float min_p, float repetition_penalty, float presence_penalty,
                 float frequency_penalty, const std::vector<std::pair<TokenId, float>>& logit_bias,
                 int min_tokens, int answers, int top_logprobs,
                 const std::shared_ptr<Grammar>& grammar, bool drafts,
                 std::vector<TokenId> answered) {
  Request request;
  request.prompt = std::move(prompt);
  request.answered = std::move(answered);
  request.sampling = {
      temperature,      top_k, top_p, seed, min_p, repetition_penalty, presence_penalty,
      frequency_penalty};
  for (const auto& [token, bias] : logit_bias) {
    request.sampling.logit_bias.push_back({token, bias});
  }
  request.max_tokens = max_tokens;
  request.min_tokens = min_tokens;
  request.stop = std::move(stop);
  request.priority = priority;
  if (timeout) {
    // Far deadlines would overflow the clock; nothing runs for a year. NaN is no time at all.
    const double seconds = std::isnan(*timeout) ? 0.0 : std::clamp(*timeout, 0.0, 3e7);
    request.deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(seconds));
  }
  request.scope = scope;
  request.answers = answers;
  request.top_logprobs = top_logprobs;
  request.grammar = grammar;
  request.trace = trace;
  request.drafts = drafts;
  const py::gil_scoped_release release;
  return engine.Submit(std::move(request));
}

std::int64_t Positions(std::size_t bytes, std::size_t position_bytes) {
  if (bytes == 0) return 0;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(bytes / position_bytes));
}

void BindStatistics(py::module_& module) {
  py::class_<EngineStatistics>(module, "EngineStatistics")
      .def_readonly("running", &EngineStatistics::running)
      .def_readonly("waiting", &EngineStatistics::waiting)
      .def_readonly("held", &EngineStatistics::held)
      .def_readonly("slots", &EngineStatistics::slots)
      .def_readonly("steps", &EngineStatistics::steps)
      .def_readonly("prompt_tokens", &EngineStatistics::prompt_tokens)
      .def_readonly("completion_tokens", &EngineStatistics::completion_tokens)
      .def_readonly("reused_tokens", &EngineStatistics::reused_tokens)
      .def_readonly("preemptions", &EngineStatistics::preemptions)
      .def_readonly("drafted_tokens", &EngineStatistics::drafted_tokens)
      .def_readonly("accepted_tokens", &EngineStatistics::accepted_tokens)
      .def_readonly("busy_seconds", &EngineStatistics::busy_seconds)
      .def_readonly("decoder_seconds", &EngineStatistics::decoder_seconds)
      .def_readonly("step_seconds", &EngineStatistics::step_seconds)
      .def_readonly("estimated_wait_seconds", &EngineStatistics::estimated_wait_seconds)
      .def_readonly("prefix_bytes", &EngineStatistics::prefix_bytes)
      .def_readonly("parked_bytes", &EngineStatistics::parked_bytes)
      .def_readonly("cache_bytes", &EngineStatistics::cache_bytes);
}

double Seconds(Clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

void BindSteps(py::module_& module) {
  py::class_<StepRecord>(module, "StepRecord")
      .def_property_readonly("begin", [](const StepRecord& step) { return Seconds(step.begin); })
      .def_property_readonly("planned",
                             [](const StepRecord& step) { return Seconds(step.planned); })
      .def_property_readonly("computed",
                             [](const StepRecord& step) { return Seconds(step.computed); })
      .def_property_readonly("end", [](const StepRecord& step) { return Seconds(step.end); })
      .def_readonly("decoding", &StepRecord::decoding)
      .def_readonly("prompt_tokens", &StepRecord::prompt_tokens)
      .def_readonly("drafted", &StepRecord::drafted);
}

}  // namespace

void BindEngine(py::module_& module) {
  using Released = py::call_guard<py::gil_scoped_release>;
  BindStatistics(module);
  BindSteps(module);
  py::native_enum<Priority>(module, "Priority", "enum.Enum")
      .value("LOW", Priority::kLow)
      .value("NORMAL", Priority::kNormal)
      .value("HIGH", Priority::kHigh)
      .finalize();
  py::classh<Engine>(module, "Engine")
      .def(py::init([](std::unique_ptr<Decoder> decoder, const Vocabulary& vocabulary,
                       int max_waiting, int prefill_chunk, std::size_t prefix_bytes,
                       std::size_t parked_bytes, double ageing, std::size_t cache_bytes,
                       int speculation_tokens) {
             SchedulerOptions scheduler;
             scheduler.positions = Positions(cache_bytes, decoder->PositionBytes());
             scheduler.batch = {prefill_chunk, prefix_bytes, {.tokens = speculation_tokens}};
             scheduler.parked_bytes = parked_bytes;
             scheduler.max_waiting = max_waiting;
             scheduler.ageing =
                 std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(ageing));
             return std::make_unique<Engine>(std::move(decoder), vocabulary, scheduler);
           }),
           py::arg("decoder"), py::arg("vocabulary"), py::kw_only(), py::arg("max_waiting"),
           py::arg("prefill_chunk"), py::arg("prefix_bytes") = 0, py::arg("parked_bytes") = 0,
           py::arg("ageing") = 10.0, py::arg("cache_bytes") = 0, py::arg("speculation_tokens") = 0)
      .def("submit", &Submit, py::arg("prompt"), py::kw_only(), py::arg("temperature"),
           py::arg("top_k"), py::arg("top_p"), py::arg("seed"), py::arg("max_tokens"),
           py::arg("stop"), py::arg("priority") = Priority::kNormal,
           py::arg("timeout") = std::nullopt, py::arg("scope") = 0, py::arg("trace") = false,
           py::arg("min_p") = 0.0F, py::arg("repetition_penalty") = 1.0F,
           py::arg("presence_penalty") = 0.0F, py::arg("frequency_penalty") = 0.0F,
           py::arg("logit_bias") = std::vector<std::pair<TokenId, float>>(),
           py::arg("min_tokens") = 0, py::arg("answers") = 1, py::arg("top_logprobs") = -1,
           py::arg("grammar") = std::shared_ptr<Grammar>(), py::arg("drafts") = true,
           py::arg("answered") = std::vector<TokenId>())
      .def("cancel", &Engine::Cancel, py::arg("request_id"), Released())
      .def("hold", &Engine::Hold, py::arg("request_id"), Released())
      .def("resume", &Engine::Resume, py::arg("request_id"), Released())
      .def("forget_prefixes", &Engine::ForgetPrefixes, py::arg("keep_bytes"), Released())
      .def("drain", &Engine::Drain, Released())
      .def("statistics", &Engine::Statistics, Released())
      .def("estimated_wait", &Engine::EstimatedWait, py::arg("priority"), py::arg("answers"),
           Released())
      .def("trace", &Engine::Trace, py::arg("most"), Released())
      .def("take_trace", &Engine::TakeTrace, Released())
      .def("stop", &Engine::Stop, Released())
      .def_property_readonly("event_fd", &Engine::event_fd)
      .def_property_readonly("context", &Engine::context)
      .def_property_readonly("rounds_alike", &Engine::rounds_alike);
}

}  // namespace llmrouter::bindings
