#include "llmrouter/admission.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "llmrouter/constraint.h"

namespace llmrouter {
namespace {

[[noreturn]] void Refuse(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

void CheckSampling(const SamplingOptions& sampling) {
  if (!std::isfinite(sampling.temperature) || sampling.temperature < 0) {
    Refuse("temperature must be a number of at least 0, got " +
           std::to_string(sampling.temperature));
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    Refuse("top_p must be over 0 and at most 1, got " + std::to_string(sampling.top_p));
  }
  if (sampling.top_k < 0) {
    Refuse("top_k must be at least 0, got " + std::to_string(sampling.top_k));
  }
}

void CheckPenalties(const SamplingOptions& sampling) {
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) {
    Refuse("min_p must be 0 to 1, got " + std::to_string(sampling.min_p));
  }
  if (!std::isfinite(sampling.repetition_penalty) || sampling.repetition_penalty <= 0) {
    Refuse("repetition_penalty must be a number over 0, got " +
           std::to_string(sampling.repetition_penalty));
  }
  if (!std::isfinite(sampling.presence_penalty)) {
    Refuse("presence_penalty must be a number, got " + std::to_string(sampling.presence_penalty));
  }
  if (!std::isfinite(sampling.frequency_penalty)) {
    Refuse("frequency_penalty must be a number, got " + std::to_string(sampling.frequency_penalty));
  }
}

void CheckBias(const std::vector<LogitBias>& entries, int vocabulary) {
  for (const LogitBias& entry : entries) {
    if (entry.token < 0 || entry.token >= vocabulary) {
      Refuse("logit_bias token " + std::to_string(entry.token) + " is outside the vocabulary of " +
             std::to_string(vocabulary));
    }
    if (!std::isfinite(entry.bias)) {
      Refuse("logit_bias of token " + std::to_string(entry.token) + " must be a number, got " +
             std::to_string(entry.bias));
    }
  }
}

void CheckAnswers(const Request& request, const AdmissionLimits& limits) {
  if (request.max_tokens < 1) {
    Refuse("max_tokens must be at least 1, got " + std::to_string(request.max_tokens));
  }
  if (request.min_tokens < 0) {
    Refuse("min_tokens must be at least 0, got " + std::to_string(request.min_tokens));
  }
  if (request.answers < 1 || request.answers > limits.slots) {
    Refuse("n must be 1 to " + std::to_string(limits.slots) +
           ", the slots of this model: each answer takes one; got " +
           std::to_string(request.answers));
  }
}

void CheckMemory(const Request& request, const AdmissionLimits& limits) {
  const int answer =
      AnswerLimit(static_cast<int>(request.prompt.size()), request.max_tokens, limits.context);
  const std::int64_t needed =
      (static_cast<std::int64_t>(request.prompt.size()) + answer) * request.answers;
  if (needed > limits.positions) {
    Refuse("prompt and max_tokens of all answers may take " + std::to_string(needed) +
           " tokens of key/value memory, this model has " + std::to_string(limits.positions) +
           "; ask for fewer max_tokens");
  }
}

void CheckPrompt(const std::vector<TokenId>& prompt, const AdmissionLimits& limits) {
  if (prompt.empty()) Refuse("prompt must have at least one token");
  if (prompt.size() >= static_cast<std::size_t>(limits.context)) {
    throw Error(ErrorCode::kContextTooLong,
                "the prompt has " + std::to_string(prompt.size()) + " tokens, the context holds " +
                    std::to_string(limits.context) + " with at least one of them for the answer");
  }
  const auto outside = std::find_if(prompt.begin(), prompt.end(), [&](TokenId token) {
    return token < 0 || token >= limits.vocabulary;
  });
  if (outside != prompt.end()) {
    Refuse("prompt token " + std::to_string(*outside) + " is outside the vocabulary of " +
           std::to_string(limits.vocabulary));
  }
}

}  // namespace

void CheckRequest(const Request& request, const AdmissionLimits& limits) {
  CheckPrompt(request.prompt, limits);
  CheckSampling(request.sampling);
  CheckPenalties(request.sampling);
  CheckBias(request.sampling.logit_bias, limits.vocabulary);
  CheckAnswers(request, limits);
  CheckMemory(request, limits);
  if (request.grammar && request.grammar->first_mask().size() != MaskWords(limits.vocabulary)) {
    Refuse("the grammar was compiled for another vocabulary");
  }
  for (const std::string& stop : request.stop) {
    if (stop.empty()) Refuse("stop strings must not be empty");
  }
}

bool Covers(const Room& room, const Room& need) {
  return room.slots >= need.slots && room.positions >= need.positions;
}

bool MayWait(int waiting, int free_slots, int max_waiting) {
  return waiting < free_slots + max_waiting;
}

Clock::time_point TurnOf(Clock::time_point submitted, Priority priority, Clock::duration ageing) {
  return submitted - ageing * static_cast<int>(priority);
}

double EstimateWait(int waiting, int free_slots, int slots, double service_seconds) {
  if (waiting < free_slots) return 0;
  return service_seconds * (waiting - free_slots + 1) / slots;
}

int AnswerLimit(int prompt_tokens, int max_tokens, int context) {
  return std::min(max_tokens, context - prompt_tokens);
}

}  // namespace llmrouter
