#include "llmrouter/sequence.h"

#include <utility>

namespace llmrouter {
namespace {

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

Sequence::Sequence(Submission submission, int answer_limit)
    : submission_(std::move(submission)),
      answer_limit_(answer_limit),
      text_(submission_.request.stop),
      tokens_(submission_.request.prompt),
      prefill_end_(static_cast<int>(tokens_.size())) {}

void Sequence::Begin() {
  if (!begun_) begun_ = Clock::now();
}

double Sequence::SecondsHeld() const { return begun_ ? Seconds(*begun_, Clock::now()) : 0; }

std::span<const TokenId> Sequence::PromptChunk(int tokens) const {
  return std::span(tokens_).subspan(computed_, tokens);
}

void Sequence::CommitReused(int tokens) {
  computed_ += tokens;
  // What is reused after its cache was given up has been counted before.
  if (generated_ == 0) reused_ = tokens;
}

void Sequence::Forget() {
  parked_ = {};
  computed_ = 0;
  // The last sampled token has not been computed yet: the next decode does.
  if (generated_ > 0) prefill_end_ = static_cast<int>(tokens_.size()) - 1;
}

void Sequence::CommitToken(TokenId token, std::span<const float> logits,
                           const Vocabulary& vocabulary, std::vector<Event>* events) {
  if (generated_ == 0) first_token_ = Clock::now();
  ++generated_;
  ++undelivered_;
  next_token_ = token;
  tokens_.push_back(token);
  if (request().trace) {
    traced_tokens_.push_back(token);
    traced_logits_.insert(traced_logits_.end(), logits.begin(), logits.end());
  }
  if (vocabulary.IsEnd(token)) return Finish(FinishReason::kStop, events);
  std::string text = text_.Push(vocabulary.Bytes(token));
  if (!text.empty()) {
    events->push_back(TextDelta{id(), std::move(text), std::exchange(undelivered_, 0)});
  }
  if (text_.stopped()) return Finish(FinishReason::kStop, events);
  if (generated_ >= answer_limit_) Finish(FinishReason::kLength, events);
}

void Sequence::Finish(FinishReason reason, std::vector<Event>* events) {
  std::string text = text_.Finish();
  if (!text.empty()) {
    events->push_back(TextDelta{id(), std::move(text), std::exchange(undelivered_, 0)});
  }
  // What was held back may itself have ended with a stop string.
  last_event_ = Summary(text_.stopped() ? FinishReason::kStop : reason);
}

void Sequence::Cancel() { last_event_ = Summary(FinishReason::kCancelled); }

void Sequence::Fail(std::string message, ErrorCode code) {
  last_event_ = Failed{id(), code, std::move(message)};
}

Event Sequence::TakeLastEvent() {
  if (auto* finished = std::get_if<Finished>(&*last_event_)) {
    finished->tokens = std::move(traced_tokens_);
    finished->logits = std::move(traced_logits_);
  }
  return std::move(*last_event_);
}

Finished Sequence::Summary(FinishReason reason) const {
  const Clock::time_point now = Clock::now();
  const Clock::time_point begun = begun_.value_or(now);
  const Clock::time_point first = generated_ > 0 ? first_token_ : now;
  Finished finished;
  finished.id = id();
  finished.reason = reason;
  finished.stop = text_.matched();
  finished.prompt_tokens = static_cast<int>(request().prompt.size());
  finished.cached_prompt_tokens = reused_;
  finished.completion_tokens = generated_;
  finished.timings.queue = Seconds(submission_.submitted, begun);
  finished.timings.prefill = Seconds(begun, first);
  finished.timings.decode = Seconds(first, now);
  finished.timings.first_token = generated_ > 0 ? Seconds(submission_.submitted, first) : 0;
  return finished;
}

}  // namespace llmrouter
