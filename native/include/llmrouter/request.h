#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "llmrouter/error.h"

namespace llmrouter {

using RequestId = std::uint64_t;
using TokenId = std::int32_t;
using Clock = std::chrono::steady_clock;

class Grammar;

/// What is added to the logit of one token.
struct LogitBias {
  TokenId token = 0;
  float bias = 0;
};

/// How the tokens of one answer are drawn. `Sampler` says in which order these apply.
struct SamplingOptions {
  /// 0 takes the most likely token.
  float temperature = 1.0F;
  /// Draws from the k most likely tokens; 0 means all of them.
  int top_k = 0;
  /// Draws from the smallest set of tokens with this probability mass; over 0 up to 1.
  float top_p = 1.0F;
  /// Together with the answer's and the token's index, all that a draw depends on besides the
  /// logits.
  std::uint64_t seed = 0;
  /// Drops tokens less likely than this share of the most likely one; 0, which is off, to 1.
  float min_p = 0.0F;
  /// Divides positive and multiplies other logits of tokens in prompt or answer; over 0, 1 is off.
  float repetition_penalty = 1.0F;
  /// Taken off the logits of tokens in the answer.
  float presence_penalty = 0.0F;
  /// Taken off the logits of tokens in the answer, once per occurrence.
  float frequency_penalty = 0.0F;
  /// At most one entry per token.
  std::vector<LogitBias> logit_bias = {};
};

/// Who goes first when slots are short.
enum class Priority { kLow, kNormal, kHigh };

/// One prompt and the answers to generate for it.
struct Request {
  /// Token ids below the vocabulary size, at least one.
  std::vector<TokenId> prompt;
  /// What the answer has said already, where another engine began it; fewer than `max_tokens`. It
  /// goes on as if it had sampled them itself: limits, penalties, draws and stop strings count
  /// them, and what of their text was held back is delivered later. One answer, without a grammar.
  std::vector<TokenId> answered = {};
  SamplingOptions sampling;
  /// Tokens to generate at most, at least 1; the context may end the answer earlier.
  int max_tokens = 1;
  /// Neither end tokens nor stop strings end an answer before it has so many tokens; at most
  /// `max_tokens`.
  int min_tokens = 0;
  /// UTF-8 strings that end the answer and are not part of it; none is empty.
  std::vector<std::string> stop;
  Priority priority = Priority::kNormal;
  /// When the answer is of no use any more.
  std::optional<Clock::time_point> deadline;
  /// Prefixes are shared among requests of one scope only.
  std::uint64_t scope = 0;
  /// Answers to generate, each in a slot of its own; the prompt is computed once.
  int answers = 1;
  /// Tells the log probability of every sampled token and of so many most likely ones, at most the
  /// whole vocabulary; -1 tells none.
  int top_logprobs = -1;
  /// What each answer has to match; null where anything may be said.
  std::shared_ptr<const Grammar> grammar;
  /// Whether tokens may be drafted: verifying them rounds otherwise than decoding does in quantised
  /// models, so that of two almost equally likely tokens the other one may be drawn.
  bool drafts = true;
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

/// A token and the natural logarithm of the probability that the model gave it: of the softmax of
/// the logits as computed, before anything in `SamplingOptions`.
struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  /// What it stands for; need not be whole UTF-8 characters.
  std::string bytes;
};

/// One sampled token and the most likely ones in its place, in order.
struct SampledLogprob {
  TokenLogprob sampled;
  std::vector<TokenLogprob> top;
};

/// New text of one answer: whole UTF-8 characters, no stop string. Empty only when it tells the
/// log probabilities of the last tokens.
struct TextDelta {
  RequestId id = 0;
  /// Index of the answer, from 0.
  int answer = 0;
  std::string text;
  /// Tokens sampled since the previous delta.
  int tokens = 0;
  /// One per token, where asked for.
  std::vector<SampledLogprob> logprobs;
  /// The tokens themselves, by which another engine can go on; without one that ends the answer.
  std::vector<TokenId> ids;
};

/// The last event of an answer that ended as asked; every answer of a request has one.
struct Finished {
  RequestId id = 0;
  /// Index of the answer, from 0.
  int answer = 0;
  FinishReason reason = FinishReason::kStop;
  /// The stop string that matched, or empty.
  std::string stop;
  int prompt_tokens = 0;
  /// Those of them whose keys and values were known from earlier prompts.
  int cached_prompt_tokens = 0;
  /// Every token sampled here, the end token too.
  int completion_tokens = 0;
  Timings timings;
  /// With `Request::trace`: the sampled tokens, and their logits [tokens, vocabulary].
  std::vector<TokenId> tokens;
  std::vector<float> logits;
};

/// An answer broke, and with it the request: other answers may run on until it is cancelled.
struct Failed {
  RequestId id = 0;
  ErrorCode code = ErrorCode::kGenerationFailed;
  std::string message;
};

using Event = std::variant<TextDelta, Finished, Failed>;

}  // namespace llmrouter
