#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "llmrouter/error.h"
#include "llmrouter/request.h"

namespace llmrouter {

/// What a new request is measured against.
struct AdmissionLimits {
  /// Tokens of prompt and answer together.
  int context = 0;
  int vocabulary = 0;
  /// Answers that can run at once.
  int slots = 1;
  /// Positions of the cache that all answers of a request may come to hold.
  std::int64_t positions = std::numeric_limits<std::int64_t>::max();
};

/// What runs, or could: slots, and positions of the cache.
struct Room {
  int slots = 0;
  std::int64_t positions = std::numeric_limits<std::int64_t>::max();
};

/// Whether `room` holds `need`.
bool Covers(const Room& room, const Room& need);

/// Throws `Error` when the request itself can never be served; the message names value and bound.
void CheckRequest(const Request& request, const AdmissionLimits& limits);

/// Whether one more request may wait. Those that free slots are about to take do not count.
bool MayWait(int waiting, int free_slots, int max_waiting);

/// When a request's turn comes: earlier turns first. Each class of priority counts as if the
/// request had come `ageing` earlier, so a lower class overtakes in the end and nobody starves.
Clock::time_point TurnOf(Clock::time_point submitted, Priority priority, Clock::duration ageing);

/// Seconds that a request which came now would wait for a slot, when sequences hold theirs for
/// `service_seconds` on average; 0 while a slot is free.
double EstimateWait(int waiting, int free_slots, int slots, double service_seconds);

/// Tokens an answer may have: what was asked for, or what the context leaves.
int AnswerLimit(int prompt_tokens, int max_tokens, int context);

}  // namespace llmrouter
