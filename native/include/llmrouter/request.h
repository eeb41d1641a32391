#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "llmrouter/error.h"

namespace llmrouter {

using RequestId = std::uint64_t;
using TokenId = std::int32_t;
using Clock = std::chrono::steady_clock;

/// How the tokens of one sequence are drawn.
struct SamplingOptions {
  /// 0 takes the most likely token.
  float temperature = 1.0F;
  /// Draws from the k most likely tokens; 0 means all of them.
  int top_k = 0;
  /// Draws from the smallest set of tokens with this probability mass; over 0 up to 1.
  float top_p = 1.0F;
  /// Together with the token's index, all that a draw depends on besides the logits.
  std::uint64_t seed = 0;
};

/// Who goes first when slots are short.
enum class Priority { kLow, kNormal, kHigh };

/// One sequence to generate.
struct Request {
  /// Token ids below the vocabulary size, at least one.
  std::vector<TokenId> prompt;
  SamplingOptions sampling;
  /// Tokens to generate at most, at least 1; the context may end the answer earlier.
  int max_tokens = 1;
  /// UTF-8 strings that end the answer and are not part of it; none is empty.
  std::vector<std::string> stop;
  Priority priority = Priority::kNormal;
  /// When the answer is of no use any more.
  std::optional<Clock::time_point> deadline;
  /// Prefixes are shared among requests of one scope only.
  std::uint64_t scope = 0;
  /// Keeps every sampled token and its logits for `Finished`. For tests: vocabulary x 4 bytes each.
  bool trace = false;
};

enum class FinishReason { kStop, kLength, kCancelled };

/// Where the time of a sequence went, in seconds.
struct Timings {
  double queue = 0;
  double prefill = 0;
  double decode = 0;
  /// From submission to the first sampled token; 0 when there was none.
  double first_token = 0;
};

/// New text of one sequence: whole UTF-8 characters, no stop string.
struct TextDelta {
  RequestId id = 0;
  std::string text;
  /// Tokens sampled since the previous delta.
  int tokens = 0;
};

/// The last event of a sequence that ended as asked.
struct Finished {
  RequestId id = 0;
  FinishReason reason = FinishReason::kStop;
  /// The stop string that matched, or empty.
  std::string stop;
  int prompt_tokens = 0;
  /// Those of them whose keys and values were known from earlier prompts.
  int cached_prompt_tokens = 0;
  /// Every sampled token, the end token too.
  int completion_tokens = 0;
  Timings timings;
  /// With `Request::trace`: the sampled tokens, and their logits [tokens, vocabulary].
  std::vector<TokenId> tokens;
  std::vector<float> logits;
};

/// The last event of a sequence that broke.
struct Failed {
  RequestId id = 0;
  ErrorCode code = ErrorCode::kGenerationFailed;
  std::string message;
};

using Event = std::variant<TextDelta, Finished, Failed>;

}  // namespace llmrouter
