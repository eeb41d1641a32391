#include "llmrouter/admission.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_set>
#include <utility>

#include "llmrouter/constraint.h"

namespace llmrouter {
namespace {

[[noreturn]] void Refuse(std::string field, std::string description,
                         ErrorCode code = ErrorCode::kInvalidArgument) {
  throw Error(code, std::move(field), std::move(description));
}

template <typename Number>
[[noreturn]] void RefuseValue(std::string field, Number value, const std::string& bound) {
  Refuse(std::move(field), "is " + std::to_string(value) + "; it must be " + bound);
}

void CheckSampling(const SamplingOptions& sampling) {
  if (!std::isfinite(sampling.temperature) || sampling.temperature < 0) {
    RefuseValue("temperature", sampling.temperature, "a number of at least 0");
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    RefuseValue("top_p", sampling.top_p, "over 0 and at most 1");
  }
  if (sampling.top_k < 0) RefuseValue("top_k", sampling.top_k, "at least 0");
}

void CheckPenalties(const SamplingOptions& sampling) {
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) RefuseValue("min_p", sampling.min_p, "0 to 1");
  if (!std::isfinite(sampling.repetition_penalty) || sampling.repetition_penalty <= 0) {
    RefuseValue("repetition_penalty", sampling.repetition_penalty, "a number over 0");
  }
  if (!std::isfinite(sampling.presence_penalty)) {
    RefuseValue("presence_penalty", sampling.presence_penalty, "a number");
  }
  if (!std::isfinite(sampling.frequency_penalty)) {
    RefuseValue("frequency_penalty", sampling.frequency_penalty, "a number");
  }
}

void CheckBias(const std::vector<LogitBias>& entries, int vocabulary) {
  std::unordered_set<TokenId> seen;
  for (const LogitBias& entry : entries) {
    const std::string field = "logit_bias[" + std::to_string(entry.token) + "]";
    if (entry.token < 0 || entry.token >= vocabulary) {
      Refuse(field,
             "names no token of this model; its tokens are 0 to " + std::to_string(vocabulary - 1),
             ErrorCode::kUnsupportedOption);
    }
    if (!std::isfinite(entry.bias)) RefuseValue(field, entry.bias, "a number");
    if (!seen.insert(entry.token).second) Refuse(field, "is there twice; name a token once");
  }
}

void CheckAnswers(const Request& request, const AdmissionLimits& limits) {
  if (request.max_tokens < 1) RefuseValue("max_tokens", request.max_tokens, "at least 1");
  if (request.min_tokens < 0) RefuseValue("min_tokens", request.min_tokens, "at least 0");
  if (request.min_tokens > request.max_tokens) {
    Refuse("min_tokens",
           "is " + std::to_string(request.min_tokens) + "; it must be at most " +
               std::to_string(request.max_tokens) + ", the most that this answer may have",
           ErrorCode::kUnsupportedOption);
  }
  if (request.top_logprobs < -1 || request.top_logprobs > limits.vocabulary) {
    RefuseValue("top_logprobs", request.top_logprobs,
                "-1, which tells none, to the " + std::to_string(limits.vocabulary) +
                    " tokens of this model");
  }
  if (request.answers < 1) RefuseValue("n", request.answers, "at least 1");
  if (request.answers > limits.slots) {
    Refuse("n",
           "is " + std::to_string(request.answers) + "; it must be at most " +
               std::to_string(limits.slots) + ", the slots of this model: each answer takes one",
           ErrorCode::kUnsupportedOption);
  }
}

void CheckMemory(const Request& request, const AdmissionLimits& limits) {
  const int answer =
      AnswerLimit(static_cast<int>(request.prompt.size()), request.max_tokens, limits.context);
  const std::int64_t needed =
      (static_cast<std::int64_t>(request.prompt.size()) + answer) * request.answers;
  if (needed > limits.positions) {
    Refuse("max_tokens",
           "is " + std::to_string(request.max_tokens) + "; with the prompt, all answers may take " +
               std::to_string(needed) + " tokens of key/value memory and this model has " +
               std::to_string(limits.positions) + ": ask for fewer tokens or answers",
           ErrorCode::kUnsupportedOption);
  }
}

void CheckTokens(const std::string& field, const std::vector<TokenId>& tokens, int vocabulary) {
  const auto outside = std::find_if(tokens.begin(), tokens.end(), [&](TokenId token) {
    return token < 0 || token >= vocabulary;
  });
  if (outside == tokens.end()) return;
  Refuse(field, "has the token " + std::to_string(*outside) +
                    ", which is outside the vocabulary of " + std::to_string(vocabulary));
}

void CheckPrompt(const std::vector<TokenId>& prompt, const AdmissionLimits& limits) {
  if (prompt.empty()) Refuse("prompt", "is empty; it must have at least one token");
  if (prompt.size() >= static_cast<std::size_t>(limits.context)) {
    throw Error(ErrorCode::kContextTooLong,
                "the prompt has " + std::to_string(prompt.size()) + " tokens, the context holds " +
                    std::to_string(limits.context) + " with at least one of them for the answer");
  }
  CheckTokens("prompt", prompt, limits.vocabulary);
}

void CheckAnswered(const Request& request, const AdmissionLimits& limits) {
  if (request.answered.empty()) return;
  if (request.answers != 1) {
    Refuse("n", "is " + std::to_string(request.answers) + "; one answer alone can be gone on with");
  }
  if (request.grammar) {
    Refuse("response_format", "cannot be followed from the middle of an answer; ask anew");
  }
  const int limit =
      AnswerLimit(static_cast<int>(request.prompt.size()), request.max_tokens, limits.context);
  if (request.answered.size() >= static_cast<std::size_t>(limit)) {
    Refuse("answered", "has " + std::to_string(request.answered.size()) +
                           " tokens; it must have fewer than the " + std::to_string(limit) +
                           " that the answer may have");
  }
  CheckTokens("answered", request.answered, limits.vocabulary);
}

}  // namespace

void CheckRequest(const Request& request, const AdmissionLimits& limits) {
  CheckPrompt(request.prompt, limits);
  CheckSampling(request.sampling);
  CheckPenalties(request.sampling);
  CheckBias(request.sampling.logit_bias, limits.vocabulary);
  CheckAnswers(request, limits);
  CheckMemory(request, limits);
  CheckAnswered(request, limits);
  if (request.grammar && request.grammar->first_mask().size() != MaskWords(limits.vocabulary)) {
    Refuse("response_format", "was compiled for another vocabulary");
  }
  for (const std::string& stop : request.stop) {
    if (stop.empty()) Refuse("stop", "has an empty string; leave it out");
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
