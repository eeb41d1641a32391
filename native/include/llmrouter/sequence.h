#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "llmrouter/request.h"
#include "llmrouter/text_stream.h"
#include "llmrouter/token_counts.h"
#include "llmrouter/vocabulary.h"

namespace llmrouter {

/// A submitted request with its place in time.
struct Submission {
  RequestId id = 0;
  Request request;
  Clock::time_point submitted;
};

/// One running answer: how far its prompt is computed, what it has said, whether it is over.
class Sequence {
 public:
  /// `answer_limit` is the number of tokens it may generate.
  Sequence(Submission submission, int answer_limit);

  RequestId id() const { return submission_.id; }
  const Request& request() const { return submission_.request; }
  /// Index of this answer among those of the request.
  int answer() const { return answer_; }
  /// Answers still to be forked from this one; each has been promised a slot.
  int promised() const { return promised_; }
  /// Makes the next promised answer, at the same place of the prompt. Before the first token.
  std::unique_ptr<Sequence> Fork();
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

  /// What penalties look at; null when there are none.
  const TokenCounts* counts() const { return counts_ ? &*counts_ : nullptr; }
  /// Whether the next token may not end the answer.
  bool must_go_on() const { return generated_ < request().min_tokens; }

  /// Keeps what `CommitToken` tells of the token it is given next.
  void NoteLogprob(SampledLogprob logprob, const Vocabulary& vocabulary);

  /// Takes a sampled token: appends the text that became final to `events`, ends the sequence when
  /// the token, a stop string or a limit does.
  void CommitToken(TokenId token, std::span<const float> logits, const Vocabulary& vocabulary,
                   std::vector<Event>* events);

  /// Ends the sequence early.
  void Cancel();
  void Fail(std::string message);

  /// Appends the event that ended it, and the ends of the answers it was still to be forked into.
  /// Only when `over()`.
  void TakeLastEvent(std::vector<Event>* events);

 private:
  void Deliver(std::string text, std::vector<Event>* events);
  void Finish(FinishReason reason, std::vector<Event>* events);
  Finished Summary(FinishReason reason) const;

  Submission submission_;
  int answer_limit_;
  TextStream text_;
  std::optional<TokenCounts> counts_;
  int answer_ = 0;
  int promised_ = 0;
  int computed_ = 0;
  int generated_ = 0;
  int undelivered_ = 0;
  TokenId next_token_ = 0;
  Clock::time_point admitted_;
  Clock::time_point first_token_;
  std::vector<SampledLogprob> logprobs_;
  std::vector<TokenId> traced_tokens_;
  std::vector<float> traced_logits_;
  std::optional<Event> last_event_;
};

/// Appends the last events of a request that was cancelled before it ran.
void CancelWhileWaiting(const Submission& submission, std::vector<Event>* events);

}  // namespace llmrouter
