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
      admitted_(Clock::now()) {}

int Sequence::prompt_left() const {
  return generated_ > 0 ? 0 : static_cast<int>(request().prompt.size()) - computed_;
}

std::span<const TokenId> Sequence::PromptChunk(int tokens) const {
  return std::span(request().prompt).subspan(computed_, tokens);
}

void Sequence::CommitToken(TokenId token, std::span<const float> logits,
                           const Vocabulary& vocabulary, std::vector<Event>* events) {
  if (generated_ == 0) first_token_ = Clock::now();
  ++generated_;
  ++undelivered_;
  next_token_ = token;
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

void Sequence::Fail(std::string message) {
  last_event_ = Failed{id(), ErrorCode::kGenerationFailed, std::move(message)};
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
  const Clock::time_point first = generated_ > 0 ? first_token_ : now;
  Finished finished;
  finished.id = id();
  finished.reason = reason;
  finished.stop = text_.matched();
  finished.prompt_tokens = static_cast<int>(request().prompt.size());
  finished.completion_tokens = generated_;
  finished.timings.queue = Seconds(submission_.submitted, admitted_);
  finished.timings.prefill = Seconds(admitted_, first);
  finished.timings.decode = Seconds(first, now);
  finished.timings.first_token = generated_ > 0 ? Seconds(submission_.submitted, first) : 0;
  return finished;
}

Finished CancelledWhileWaiting(const Submission& submission) {
  Finished finished;
  finished.id = submission.id;
  finished.reason = FinishReason::kCancelled;
  finished.prompt_tokens = static_cast<int>(submission.request.prompt.size());
  finished.timings.queue = Seconds(submission.submitted, Clock::now());
  return finished;
}

}  // namespace llmrouter
