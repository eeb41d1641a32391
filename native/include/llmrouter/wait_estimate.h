#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// What sequences of one class of priority that wait for a slot are going to take.
struct Backlog {
  /// Slots, one for each answer.
  std::int64_t answers = 0;
  /// Tokens to prefill, and that the answers may have yet, all together.
  std::int64_t prompt_tokens = 0;
  std::int64_t answer_tokens = 0;

  Backlog& operator+=(const Backlog& more);
  Backlog& operator-=(const Backlog& less);
};

/// By class, the lowest first.
using Backlogs = std::array<Backlog, 3>;

/// A running sequence, as far as it says when its slots will be free.
struct RunningLoad {
  Priority priority = Priority::kNormal;
  /// Its turn, see `TurnOf`.
  Clock::time_point turn;
  /// Its own slot and those promised to answers that share its prompt.
  int slots = 1;
  int prompt_left = 0;
  /// Tokens of its answer so far, and that it may have.
  int said = 0;
  int limit = 0;
};

/// How fast the model is. Each is 0 until it was measured.
struct Pace {
  /// Of a step that decodes a token for every slot, and that one more token to prefill adds.
  double step_seconds = 0;
  double prompt_token_seconds = 0;
  /// Mean tokens of the answers that were said to their end.
  double answer_tokens = 0;
};

/// What stands between a new request and its slots.
struct EngineLoad {
  std::vector<RunningLoad> running;
  /// Slots that could be had at once.
  int free_slots = 0;
  Backlogs waiting;
  Pace pace;
};

/// Seconds that a request which comes now waits for the slots of all its answers: until those of
/// its class and higher ones that wait have had theirs. Those who run, or wait, are taken to say
/// as much as the mean of the answers before them, at most what they may; a lower class with a
/// later turn gives way. `turn` is the request's. 0 while its slots are free.
double WaitForSlots(const EngineLoad& load, Priority priority, Clock::time_point turn, int answers);

}  // namespace llmrouter
