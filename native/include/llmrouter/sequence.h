#pragma once

#include <optional>
#include <span>
#include <vector>

#include "llmrouter/request.h"
#include "llmrouter/text_stream.h"
#include "llmrouter/vocabulary.h"

namespace llmrouter {

/// A submitted request with its place in time.
struct Submission {
  RequestId id = 0;
  Request request;
  Clock::time_point submitted;
};

/// One running sequence: how far its prompt is computed, what it has said, whether it is over.
class Sequence {
 public:
  /// `answer_limit` is the number of tokens it may generate.
  Sequence(Submission submission, int answer_limit);

  RequestId id() const { return submission_.id; }
  const Request& request() const { return submission_.request; }
  /// Tokens whose keys and values are in the cache.
  int computed() const { return computed_; }
  int prompt_left() const;
  bool decoding() const { return generated_ > 0 && !over(); }
  bool over() const { return last_event_.has_value(); }
  int generated() const { return generated_; }
  /// The token a decode step has to compute.
  TokenId next_token() const { return next_token_; }

  /// The next `tokens` tokens of the prompt.
  std::span<const TokenId> PromptChunk(int tokens) const;
  void CommitComputed(int tokens) { computed_ += tokens; }

  /// Takes a sampled token: appends the text that became final to `events`, ends the sequence when
  /// the token, a stop string or a limit does.
  void CommitToken(TokenId token, std::span<const float> logits, const Vocabulary& vocabulary,
                   std::vector<Event>* events);

  /// Ends the sequence early.
  void Cancel();
  void Fail(std::string message);

  /// Hands over the event that ended it. Only when `over()`.
  Event TakeLastEvent();

 private:
  void Finish(FinishReason reason, std::vector<Event>* events);
  Finished Summary(FinishReason reason) const;

  Submission submission_;
  int answer_limit_;
  TextStream text_;
  int computed_ = 0;
  int generated_ = 0;
  int undelivered_ = 0;
  TokenId next_token_ = 0;
  Clock::time_point admitted_;
  Clock::time_point first_token_;
  std::vector<TokenId> traced_tokens_;
  std::vector<float> traced_logits_;
  std::optional<Event> last_event_;
};

/// The last event of a request that was cancelled before it ran.
Finished CancelledWhileWaiting(const Submission& submission);

}  // namespace llmrouter
