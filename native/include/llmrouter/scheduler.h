#pragma once

#include <memory>
#include <vector>

#include "llmrouter/admission.h"
#include "llmrouter/batch.h"
#include "llmrouter/wait_estimate.h"
#include "llmrouter/waiting_queue.h"

namespace llmrouter {

struct SchedulerOptions {
  BatchOptions batch;
  /// Positions of the cache that running sequences may come to hold together, so that none runs out
  /// of memory half way; 0 for as many as there are.
  std::int64_t positions = 0;
  /// Memory for the keys and values of sequences that gave way to a higher class, in bytes. Beyond
  /// it they are computed again.
  std::size_t parked_bytes = 0;
  /// How much waiting one class of priority is worth.
  Clock::duration ageing = std::chrono::seconds(10);
  /// Requests that may wait for a slot or be held; at least 0.
  int max_waiting = 256;
};

/// Decides who runs and who waits. Single-threaded: `Engine` gives it a thread, tests step it by
/// hand.
class Scheduler {
 public:
  Scheduler(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary,
            const SchedulerOptions& options);

  const Batch& batch() const { return batch_; }
  int waiting() const { return waiting_.size(); }
  bool idle() const { return batch_.running() == 0 && waiting_.size() == 0; }
  /// Those held, whose deadlines pass all the same.
  int held() const { return held_.size(); }
  std::uint64_t preemptions() const { return preemptions_; }
  std::size_t parked_bytes() const { return waiting_.parked_bytes() + held_.parked_bytes(); }

  void Add(std::unique_ptr<Sequence> sequence) { waiting_.Push(std::move(sequence)); }

  /// Ends a sequence, with `Finished` as cancelled. Unknown ids are ignored.
  void Cancel(RequestId id, std::vector<Event>* events);
  void CancelAll(std::vector<Event>* events);

  /// Takes a request off its slots, or out of turn, until `Resume`: its reader does not take what
  /// it says. Fails it as kSlowReader where more would wait or be held than may. Unknown ids are
  /// ignored.
  void Hold(RequestId id, std::vector<Event>* events);
  void Resume(RequestId id);

  /// Drops what is too late and lets those whose turn it is join.
  void Arrange(Clock::time_point now, std::vector<Event>* events);

  /// Frees kept prefixes, the least recently used first, down to `keep_bytes`.
  void ForgetPrefixes(std::size_t keep_bytes) { batch_.ForgetPrefixes(keep_bytes); }

  /// Runs one step of those that have a slot.
  void Step(std::vector<Event>* events);

  /// Ends every running sequence with the same failure.
  void FailRunning(const std::string& message, std::vector<Event>* events) {
    batch_.FailAll(message, events);
  }

  /// Tells what stands between a new request and its slots.
  void Tell(EngineLoad* load) const;

  /// Hands the decoder over; only when idle, and nothing may be added afterwards.
  std::unique_ptr<Decoder> TakeDecoder() { return batch_.TakeDecoder(); }

 private:
  void Expire(Clock::time_point now, std::vector<Event>* events);
  /// Ends a request that may not be held.
  void Refuse(RequestId id, std::vector<Event>* events);
  void Join(std::vector<Event>* events);
  Room free() const;
  /// Parks running sequences of a lower class than `next`, whose turn is later, the latest first.
  /// False, and nothing is parked, when all of them together would not make room.
  bool MakeRoomFor(const Sequence& next, std::vector<Event>* events);
  void ParkLatest(const Sequence& next, std::vector<Event>* events);
  /// Takes a running sequence out and puts it into `queue`; it may fail on the way.
  void Park(int row, WaitingQueue* queue, std::vector<Event>* events);
  bool GivesWay(const Sequence& running, const Sequence& next) const;
  Clock::time_point Turn(const Sequence& sequence) const;

  const SchedulerOptions options_;
  Batch batch_;
  WaitingQueue waiting_;
  WaitingQueue held_;
  std::uint64_t preemptions_ = 0;
};

}  // namespace llmrouter
