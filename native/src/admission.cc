#include "llmrouter/admission.h"

#include <algorithm>
#include <cmath>
#include <string>

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
  if (request.max_tokens < 1) {
    Refuse("max_tokens must be at least 1, got " + std::to_string(request.max_tokens));
  }
  for (const std::string& stop : request.stop) {
    if (stop.empty()) Refuse("stop strings must not be empty");
  }
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
