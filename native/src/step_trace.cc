#include "llmrouter/step_trace.h"

#include <utility>

namespace llmrouter {

void StepTrace::Start(std::size_t most) {
  const std::lock_guard lock(mutex_);
  records_.clear();
  most_.store(most, std::memory_order_relaxed);
}

void StepTrace::Add(const StepRecord& record) {
  const std::lock_guard lock(mutex_);
  const std::size_t most = most_.load(std::memory_order_relaxed);
  if (records_.size() < most) records_.push_back(record);
  if (records_.size() >= most) most_.store(0, std::memory_order_relaxed);
}

std::vector<StepRecord> StepTrace::Take() {
  const std::lock_guard lock(mutex_);
  most_.store(0, std::memory_order_relaxed);
  return std::exchange(records_, {});
}

}  // namespace llmrouter
