#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "llmrouter/constraint.h"
#include "llmrouter/request.h"
#include "llmrouter/speculation.h"
#include "llmrouter/text_stream.h"
#include "llmrouter/token_counts.h"
#include "llmrouter/vocabulary.h"
#include "llmrouter/wait_estimate.h"

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
  Clock::time_point submitted() const { return submission_.submitted; }
  /// Takes what the request says was answered already. Before anything else.
  void TakeAnswered(const Vocabulary& vocabulary);
  /// Notes that it has a slot now; what counts is the first time.
  void Begin();

  /// Index of this answer among those of the request.
  int answer() const { return answer_; }
  /// Answers still to be forked from this one; each has been promised a slot.
  int promised() const { return promised_; }
  /// Slots that it takes, with those promised.
  int slots() const { return 1 + promised_; }
  /// Makes the next promised answer, at the same place of the prompt. Before the first token.
  std::unique_ptr<Sequence> Fork();
  /// Tokens whose keys and values are in the cache.
  int computed() const { return computed_; }
  /// Tokens still to be prefilled before it decodes.
  int prompt_left() const { return std::max(0, prefill_end_ - computed_); }
  /// Positions of the cache that it and the answers promised to it can come to hold.
  std::int64_t reserved() const {
    return std::int64_t{slots()} *
           (static_cast<std::int64_t>(request().prompt.size()) + answer_limit_);
  }
  /// What it takes once its turn has come.
  Backlog backlog() const;
  bool over() const { return last_event_.has_value(); }
  /// Whether it is over because all is said: neither cancelled nor failed.
  bool finished() const;
  /// Whether it is over because it failed.
  bool failed() const;
  /// Tokens of the answer, those that were answered before included.
  int generated() const { return static_cast<int>(tokens_.size() - request().prompt.size()); }
  /// Tokens that were sampled here.
  int sampled() const { return generated() - static_cast<int>(request().answered.size()); }
  /// Tokens that its answer may have.
  int limit() const { return answer_limit_; }
  /// Those whose keys and values are prefilled: the prompt, and what has to be computed again.
  std::span<const TokenId> prefilled() const {
    return std::span(tokens_).first(static_cast<std::size_t>(prefill_end_));
  }
  /// Those whose keys and values are in the cache.
  std::span<const TokenId> cached() const {
    return std::span(tokens_).first(static_cast<std::size_t>(computed_));
  }
  /// The token a decode step has to compute.
  TokenId next_token() const { return tokens_.back(); }

  /// The next `tokens` tokens of the prompt.
  std::span<const TokenId> PromptChunk(int tokens) const;
  void CommitComputed(int tokens) { computed_ += tokens; }
  /// Counts tokens of the prompt whose keys and values came from elsewhere.
  void CommitReused(int tokens);

  /// Keeps its keys and values while others use its row.
  void Park(std::vector<std::byte> cache) { parked_ = std::move(cache); }
  std::vector<std::byte> TakeParked() { return std::exchange(parked_, {}); }
  std::size_t parked_bytes() const { return parked_.size(); }
  /// Gives its keys and values up: everything up to here is prefilled again.
  void Forget();

  /// Drafts at most `most` tokens that may come next, none beyond its limit.
  ExpectedDraft Draft(int most);
  /// Its drafts; only after `Draft`.
  Drafter& drafter() { return *drafter_; }

  /// What penalties look at; null when there are none.
  const TokenCounts* counts() const { return counts_ ? &*counts_ : nullptr; }
  /// Its place in the grammar it has to match; null where there is none.
  const std::shared_ptr<Constraint>& constraint() const { return constraint_; }
  /// Whether the next token may not end the answer.
  bool must_go_on() const { return generated() < request().min_tokens; }

  /// Keeps what `CommitToken` tells of the token it is given next.
  void NoteLogprob(SampledLogprob logprob, const Vocabulary& vocabulary);

  /// Takes a sampled token: appends the text that became final to `events`, ends the sequence when
  /// the token, a stop string or a limit does.
  void CommitToken(TokenId token, std::span<const float> logits, const Vocabulary& vocabulary,
                   std::vector<Event>* events);

  /// Ends the sequence early.
  void Cancel();
  void Fail(std::string message, ErrorCode code = ErrorCode::kGenerationFailed);

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
  /// The prompt and what has been sampled since.
  std::vector<TokenId> tokens_;
  int prefill_end_;
  std::optional<TokenCounts> counts_;
  /// Made with the first draft.
  std::optional<Drafter> drafter_;
  std::shared_ptr<Constraint> constraint_;
  int answer_ = 0;
  int promised_ = 0;
  int computed_ = 0;
  int reused_ = 0;
  bool forgotten_ = false;
  std::vector<std::byte> parked_;
  bool ended_by_token_ = false;
  int undelivered_ = 0;
  std::optional<Clock::time_point> begun_;
  Clock::time_point first_token_;
  std::vector<SampledLogprob> logprobs_;
  std::vector<float> traced_logits_;
  std::optional<Event> last_event_;
};

}  // namespace llmrouter
