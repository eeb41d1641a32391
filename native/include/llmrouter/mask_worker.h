#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "llmrouter/constraint.h"

namespace llmrouter {

/// Computes masks on a thread of its own while the decoder runs. The thread starts with the first
/// mask asked for; `Advance` and `Wait` are for one other thread, the engine's.
class MaskWorker {
 public:
  /// A mask that takes longer than `timeout` fails its answer.
  explicit MaskWorker(Clock::duration timeout) : timeout_(timeout) {}
  ~MaskWorker();
  MaskWorker(const MaskWorker&) = delete;
  MaskWorker& operator=(const MaskWorker&) = delete;

  /// Takes the token just drawn and has the mask after it computed.
  void Advance(const std::shared_ptr<Constraint>& constraint, TokenId token);

  /// Waits until the mask is there, at most until `until`. False when it is not; what cannot be
  /// had at all is a failure.
  Result<bool> Wait(const Constraint& constraint, Clock::time_point until);

 private:
  void Run();
  void Compute(Constraint& constraint);

  const Clock::duration timeout_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  // Guarded by mutex_. Both vectors keep their memory, so that asking does not allocate.
  std::vector<std::shared_ptr<Constraint>> asked_;
  bool stopping_ = false;
  /// The thread's own.
  std::vector<std::shared_ptr<Constraint>> taken_;
  std::thread thread_;
};

/// How long a step may wait for masks. As long as it decoded: a grammar that is slow to follow no
/// more than doubles the gap between the tokens of the others.
Clock::duration MaskPatience(double decode_seconds);

}  // namespace llmrouter
