#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "llmrouter/delivery.h"
#include "llmrouter/request.h"
#include "llmrouter/scheduler.h"

namespace llmrouter {

/// A moment's load.
struct EngineStatistics {
  int running = 0;
  int waiting = 0;
  /// Off their slots until their readers have taken what was said; each answer counts.
  int held = 0;
  int slots = 0;
  /// Since the engine started: decoder runs, prompt tokens computed, tokens sampled.
  std::uint64_t steps = 0;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t completion_tokens = 0;
  /// Prompt tokens that earlier prompts had computed already, and sequences that gave way to a
  /// higher class.
  std::uint64_t reused_tokens = 0;
  std::uint64_t preemptions = 0;
  /// Tokens drafted and verified since it started, and those that became part of an answer.
  std::uint64_t drafted_tokens = 0;
  std::uint64_t accepted_tokens = 0;
  /// Seconds since the engine started in which its thread had work, and those of them that the
  /// decoder's runs took. Both end with the same step, so that their difference is what everything
  /// around the decoder costs.
  double busy_seconds = 0;
  double decoder_seconds = 0;
  /// Mean seconds of a step in which rows decode.
  double step_seconds = 0;
  /// Seconds that a request of normal priority which came now would wait for a slot.
  double estimated_wait_seconds = 0;
  /// Memory of kept prefixes and of parked sequences in bytes.
  std::size_t prefix_bytes = 0;
  std::size_t parked_bytes = 0;
  /// Committed key/value memory in bytes.
  std::size_t cache_bytes = 0;
};

/// Runs one model on a thread of its own. Any thread may call any method.
class Engine {
 public:
  Engine(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary, const SchedulerOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Tokens of prompt and answer together that one sequence may hold.
  int context() const { return limits_.context; }

  /// Whether drafts leave every answer as it is, bit by bit: see `Decoder::rounds_alike`.
  bool rounds_alike() const { return rounds_alike_; }

  /// Queues a request. Throws `Error`: kInvalidArgument, kContextTooLong, kQueueFull, kStopped.
  RequestId Submit(Request request);

  /// Ends a request before the next step, with `Finished` as cancelled. Unknown ids are ignored:
  /// the request may just have ended.
  void Cancel(RequestId id);

  /// Takes a request off its slot before the next step, until `Resume`: see `Scheduler::Hold`.
  void Hold(RequestId id) { SetHeld(id, true); }
  void Resume(RequestId id) { SetHeld(id, false); }

  /// Frees kept prefixes before the next step, the least recently used first, down to `keep_bytes`.
  void ForgetPrefixes(std::size_t keep_bytes);

  /// Cancels everything, ends the thread and frees the decoder; nothing is accepted afterwards.
  /// Safe to call twice.
  void Stop();

  /// Takes the events published so far; wait for `event_fd` to become readable.
  std::vector<Event> Drain() { return delivery_.Drain(); }
  int event_fd() const { return delivery_.event_fd(); }

  EngineStatistics Statistics() const;

  /// Seconds that a request which came now would wait for the slots of its answers.
  double EstimatedWait(Priority priority, int answers) const;

  /// Keeps the next steps, `most` at most, until they are taken.
  void Trace(std::size_t most) { scheduler_.batch().trace().Start(most); }
  std::vector<StepRecord> TakeTrace() { return scheduler_.batch().trace().Take(); }

 private:
  void SetHeld(RequestId id, bool held);
  void Run();
  /// Does work of the scheduler; what it throws fails the running sequences and no more.
  template <typename Work>
  void Guarded(Work work);
  void FreeModel();
  /// Sleeps until there is work, then brings the batch up to date. False when it is time to end.
  bool TakeWork();
  void UpdateStatistics();
  /// Throws kQueueFull unless one more may wait. Under the lock, as `WaitNow`.
  void CheckQueue() const;
  double WaitNow(Priority priority, int answers) const;

  const SchedulerOptions options_;
  Scheduler scheduler_;
  const DecoderLimits limits_;
  const bool rounds_alike_;
  Delivery delivery_;
  /// The engine thread's own; published once per step.
  std::vector<Event> events_;
  /// When it last found work after having had none, and the seconds it had had work until then.
  Clock::time_point woken_ = Clock::now();
  double busy_before_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  // Guarded by mutex_.
  std::vector<std::unique_ptr<Sequence>> submitted_;
  std::vector<RequestId> cancelled_;
  /// In the order asked for.
  std::vector<std::pair<RequestId, bool>> held_;
  std::optional<std::size_t> keep_prefixes_;
  EngineStatistics statistics_;
  EngineLoad load_;
  RequestId next_id_ = 1;
  bool stopping_ = false;

  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace llmrouter
