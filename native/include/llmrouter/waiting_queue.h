#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
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
  /// Memory of the caches that parked sequences brought along.
  std::size_t parked_bytes() const { return parked_bytes_; }

  void Push(std::unique_ptr<Sequence> sequence);

  /// Whose turn is next; null when nobody waits.
  const Sequence* Next() const;
  std::unique_ptr<Sequence> Pop();

  /// Takes a sequence out of turn; null when it does not wait here.
  std::unique_ptr<Sequence> Remove(RequestId id);

  /// Takes out those whose deadline has passed.
  std::vector<std::unique_ptr<Sequence>> TakeExpired(Clock::time_point now);

  std::vector<RequestId> Ids() const;

 private:
  using Place = std::pair<Clock::time_point, RequestId>;

  const Clock::duration ageing_;
  std::map<Place, std::unique_ptr<Sequence>> turns_;
  std::unordered_map<RequestId, Place> places_;
  std::set<Place> deadlines_;
  std::size_t parked_bytes_ = 0;
};

}  // namespace llmrouter
