#include "llmrouter/sequence.h"

#include <utility>

namespace llmrouter {
namespace {

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

bool HasPenalties(const SamplingOptions& sampling) {
  return sampling.repetition_penalty != 1 || sampling.presence_penalty != 0 ||
         sampling.frequency_penalty != 0;
}

/// Appends the same end for the answers from `first` up to, not including, `last`.
void AppendEnds(const Finished& finished, int first, int last, std::vector<Event>* events) {
  for (int answer = first; answer < last; ++answer) {
    events->emplace_back(std::in_place_type<Finished>, finished);
    std::get<Finished>(events->back()).answer = answer;
  }
}

}  // namespace

Sequence::Sequence(Submission submission, int answer_limit)
    : submission_(std::move(submission)),
      answer_limit_(answer_limit),
      text_(submission_.request.stop),
      promised_(submission_.request.answers - 1),
      admitted_(Clock::now()) {
  if (HasPenalties(request().sampling)) counts_.emplace(request().prompt, answer_limit);
}

std::unique_ptr<Sequence> Sequence::Fork() {
  auto fork = std::make_unique<Sequence>(submission_, answer_limit_);
  fork->answer_ = request().answers - promised_;
  fork->promised_ = 0;
  fork->computed_ = computed_;
  fork->admitted_ = admitted_;
  --promised_;
  return fork;
}

int Sequence::prompt_left() const {
  return generated_ > 0 ? 0 : static_cast<int>(request().prompt.size()) - computed_;
}

std::span<const TokenId> Sequence::PromptChunk(int tokens) const {
  return std::span(request().prompt).subspan(computed_, tokens);
}

void Sequence::NoteLogprob(SampledLogprob logprob, const Vocabulary& vocabulary) {
  logprob.sampled.bytes = vocabulary.Bytes(logprob.sampled.token);
  for (TokenLogprob& other : logprob.top) other.bytes = vocabulary.Bytes(other.token);
  logprobs_.push_back(std::move(logprob));
}

void Sequence::CommitToken(TokenId token, std::span<const float> logits,
                           const Vocabulary& vocabulary, std::vector<Event>* events) {
  if (generated_ == 0) first_token_ = Clock::now();
  ++generated_;
  ++undelivered_;
  next_token_ = token;
  if (counts_) counts_->Say(token);
  if (request().trace) {
    traced_tokens_.push_back(token);
    traced_logits_.insert(traced_logits_.end(), logits.begin(), logits.end());
  }
  if (vocabulary.IsEnd(token)) return Finish(FinishReason::kStop, events);
  std::string text = text_.Push(vocabulary.Bytes(token), !must_go_on());
  if (!text.empty()) Deliver(std::move(text), events);
  if (text_.stopped()) return Finish(FinishReason::kStop, events);
  if (generated_ >= answer_limit_) Finish(FinishReason::kLength, events);
}

void Sequence::Deliver(std::string text, std::vector<Event>* events) {
  events->emplace_back(TextDelta{id(), answer_, std::move(text), std::exchange(undelivered_, 0),
                                 std::exchange(logprobs_, {})});
}

void Sequence::Finish(FinishReason reason, std::vector<Event>* events) {
  std::string text = text_.Finish();
  if (!text.empty() || !logprobs_.empty()) Deliver(std::move(text), events);
  // What was held back may itself have ended with a stop string.
  last_event_ = Summary(text_.stopped() ? FinishReason::kStop : reason);
}

void Sequence::Cancel() { last_event_ = Summary(FinishReason::kCancelled); }

void Sequence::Fail(std::string message) {
  last_event_ = Failed{id(), ErrorCode::kGenerationFailed, std::move(message)};
}

void Sequence::TakeLastEvent(std::vector<Event>* events) {
  if (auto* finished = std::get_if<Finished>(&*last_event_)) {
    AppendEnds(*finished, request().answers - promised_, request().answers, events);
    finished->tokens = std::move(traced_tokens_);
    finished->logits = std::move(traced_logits_);
  }
  events->push_back(std::move(*last_event_));
}

Finished Sequence::Summary(FinishReason reason) const {
  const Clock::time_point now = Clock::now();
  const Clock::time_point first = generated_ > 0 ? first_token_ : now;
  Finished finished;
  finished.id = id();
  finished.answer = answer_;
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

void CancelWhileWaiting(const Submission& submission, std::vector<Event>* events) {
  Finished finished;
  finished.id = submission.id;
  finished.reason = FinishReason::kCancelled;
  finished.prompt_tokens = static_cast<int>(submission.request.prompt.size());
  finished.timings.queue = Seconds(submission.submitted, Clock::now());
  AppendEnds(finished, 0, submission.request.answers, events);
}

}  // namespace llmrouter
