#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "llmrouter/sequence.h"

namespace llmrouter {

/// Sequences that wait for a slot, in the order of their turns (`TurnOf`). Nothing here grows with
/// the number of waiting sequences by more than its logarithm, so that a long queue costs a step
/// nothing.
class WaitingQueue {
 public:
  /// Being one class higher is worth `ageing` of waiting.
  explicit WaitingQueue(Clock::duration ageing) : ageing_(ageing) {}

  int size() const { return static_cast<int>(turns_.size()); }
  /// What they are going to take, by class.
  const Backlogs& backlogs() const { return backlogs_; }
  /// Memory of the caches that parked sequences brought along.
  std::size_t parked_bytes() const { return parked_bytes_; }

  void Push(std::unique_ptr<Sequence> sequence);

  /// Whose turn is next; null when nobody waits.
  const Sequence* Next() const;
  std::unique_ptr<Sequence> Pop();

  /// Takes a sequence of this request out of turn; null when none waits here. Of one whose answers
  /// have begun there may be several.
  std::unique_ptr<Sequence> Remove(RequestId id);

  /// Takes out those whose deadline has passed.
  std::vector<std::unique_ptr<Sequence>> TakeExpired(Clock::time_point now);

  std::vector<RequestId> Ids() const;

 private:
  /// An answer of a request.
  using Name = std::pair<RequestId, int>;
  using Place = std::pair<Clock::time_point, Name>;

  std::unique_ptr<Sequence> Take(const Name& name);

  const Clock::duration ageing_;
  std::map<Place, std::unique_ptr<Sequence>> turns_;
  std::map<Name, Clock::time_point> names_;
  std::set<Place> deadlines_;
  Backlogs backlogs_ = {};
  std::size_t parked_bytes_ = 0;
};

}  // namespace llmrouter
