#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// One step that ran the decoder: when its parts ended, and what it computed.
struct StepRecord {
  Clock::time_point begin = {};
  Clock::time_point planned = {};
  Clock::time_point computed = {};
  Clock::time_point end = {};
  /// Rows that decoded, tokens of prompts, and tokens that were drafted.
  int decoding = 0;
  int prompt_tokens = 0;
  int drafted = 0;
};

/// The steps of an engine while somebody looks: written by its thread, read by any. Off, it costs a
/// step one look at a flag.
class StepTrace {
 public:
  bool on() const { return most_.load(std::memory_order_relaxed) > 0; }

  /// Begins anew, and ends by itself after `most` steps.
  void Start(std::size_t most);

  /// Keeps one step, if there is room for it.
  void Add(const StepRecord& record);

  /// Ends and hands over what was kept.
  std::vector<StepRecord> Take();

 private:
  std::atomic<std::size_t> most_ = 0;
  std::mutex mutex_;
  std::vector<StepRecord> records_;
};

}  // namespace llmrouter
