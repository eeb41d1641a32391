#pragma once

#include <cstddef>
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
  int max_waiting = 0;
  /// Answers that can run at once.
  int slots = 1;
};

/// Throws `Error` when the request itself can never be served; the message names value and bound.
void CheckRequest(const Request& request, const AdmissionLimits& limits);

/// Whether one more request may wait. Those that free slots are about to take do not count.
bool MayWait(int waiting, int free_slots, int max_waiting);

/// How many of the waiting requests join the running ones now.
int Admissible(int waiting, int free_slots);

/// Tokens an answer may have: what was asked for, or what the context leaves.
int AnswerLimit(int prompt_tokens, int max_tokens, int context);

}  // namespace llmrouter
