#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "llmrouter/delivery.h"
#include "llmrouter/grouping.h"
#include "llmrouter/request.h"

namespace llmrouter {

struct BatcherOptions {
  /// Requests that may wait.
  int max_waiting = 256;
  /// Waiting that one class of priority is worth.
  Clock::duration ageing = std::chrono::seconds(10);
  GroupingLimits grouping;
};

/// A moment's load, and what was done since the batcher was made.
struct BatcherStatistics {
  int waiting = 0;
  int running = 0;
  std::uint64_t batches = 0;
  std::uint64_t requests = 0;
  /// Tokens of the requests taken, and positions with padding.
  std::uint64_t tokens = 0;
  std::uint64_t positions = 0;
  /// Tokens that finished requests were said to have generated.
  std::uint64_t completion_tokens = 0;
  /// Requests whose deadline passed before they were taken.
  std::uint64_t expired = 0;
  /// Decayed mean of the time that batches take.
  double batch_seconds = 0;
  /// Seconds that a request which came now would wait.
  double estimated_wait_seconds = 0;
};

/// Groups whole requests into batches for engines that compute a batch by themselves. What a
/// request consists of stays with the caller; here it is an id and a length. Every request that was
/// accepted has exactly one last event: `Finished` or `Failed`. Any thread may call any method.
class SequenceBatcher {
 public:
  explicit SequenceBatcher(const BatcherOptions& options);
  SequenceBatcher(const SequenceBatcher&) = delete;
  SequenceBatcher& operator=(const SequenceBatcher&) = delete;

  /// Queues a request of `length` tokens; only requests of the same `kind` share its batch. Throws
  /// `Error`: kInvalidArgument, kQueueFull, kStopped.
  RequestId Submit(int length, Priority priority, std::optional<Clock::time_point> deadline,
                   std::int64_t kind = 0);

  /// Requests that may still be queued now.
  int Room();

  /// Ends a request, waiting or running, with `Finished` as cancelled. Unknown ids are ignored.
  void Cancel(RequestId id);

  /// Waits for the next batch and gives it to the caller, who has to end each of its requests by
  /// `Finish` or `Fail`. Empty after `patience`, and once stopped.
  std::vector<RequestId> Take(Clock::duration patience);

  /// Whether a request taken is still worth computing: neither ended nor cancelled, and in time.
  /// One whose deadline has passed ends here.
  bool Wanted(RequestId id);

  /// Sends text of a running request; ended ones are ignored. `text` may be empty: the tokens then
  /// count with the next text.
  void Publish(RequestId id, const std::string& text, int tokens);

  /// Ends a running request; one that has ended is ignored.
  void Finish(RequestId id, FinishReason reason, const std::string& stop, int completion_tokens);
  void Fail(RequestId id, ErrorCode code, const std::string& message);

  /// Cancels everything and wakes whoever waits in `Take`; nothing is accepted afterwards. Safe to
  /// call twice.
  void Stop();
  bool stopped() const;

  /// Takes the events published so far; wait for `event_fd` to become readable.
  std::vector<Event> Drain() { return delivery_.Drain(); }
  int event_fd() const { return delivery_.event_fd(); }

  BatcherStatistics Statistics() const;

 private:
  /// A request from its arrival to its end.
  struct Entry {
    int length = 0;
    std::int64_t kind = 0;
    Clock::time_point submitted;
    Clock::time_point turn;
    std::optional<Clock::time_point> deadline;
    /// Set once it runs.
    std::optional<Clock::time_point> taken;
    /// Requests that were taken with it.
    int company = 0;
    std::optional<Clock::time_point> first_token;
    int untold_tokens = 0;
  };
  using Place = std::pair<Clock::time_point, RequestId>;

  // With mutex_ held.
  Grouping Group(Clock::time_point now) const;
  std::vector<RequestId> TakeMembers(const std::vector<std::size_t>& members,
                                     Clock::time_point now);
  void DropExpired(Clock::time_point now);
  void End(RequestId id, Event event);
  Finished Summary(RequestId id, const Entry& entry, FinishReason reason) const;
  void CancelEntry(RequestId id);
  void LearnDuration(const Entry& entry);
  void Send(Event event);

  const BatcherOptions options_;
  Delivery delivery_;

  mutable std::mutex mutex_;
  std::condition_variable news_;
  // Guarded by mutex_.
  std::unordered_map<RequestId, Entry> entries_;
  /// Those of them that wait, in order of their turns, and those with a deadline by it.
  std::map<Place, RequestId> turns_;
  std::map<Place, RequestId> deadlines_;
  BatcherStatistics statistics_;
  double batch_size_ = 0;
  RequestId next_id_ = 1;
  bool stopped_ = false;
};

}  // namespace llmrouter
