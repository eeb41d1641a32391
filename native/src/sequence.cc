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
      tokens_(submission_.request.prompt),
      prefill_end_(static_cast<int>(tokens_.size())),
      promised_(submission_.request.answers - 1) {
  if (HasPenalties(request().sampling)) counts_.emplace(request().prompt, answer_limit);
  if (request().grammar) constraint_ = std::make_shared<Constraint>(request().grammar);
}

void Sequence::TakeAnswered(const Vocabulary& vocabulary) {
  for (const TokenId token : request().answered) {
    tokens_.push_back(token);
    if (counts_) counts_->Say(token);
    // The reader has what is final of it already.
    text_.Push(vocabulary.Bytes(token), !must_go_on());
  }
  // The last one is computed by the next decode, as it would have been.
  if (generated() > 0) prefill_end_ = static_cast<int>(tokens_.size()) - 1;
}

std::unique_ptr<Sequence> Sequence::Fork() {
  auto fork = std::make_unique<Sequence>(submission_, answer_limit_);
  fork->answer_ = request().answers - promised_;
  fork->promised_ = 0;
  fork->computed_ = computed_;
  fork->reused_ = reused_;
  fork->begun_ = begun_;
  --promised_;
  return fork;
}

void Sequence::Begin() {
  if (!begun_) begun_ = Clock::now();
}

Backlog Sequence::backlog() const {
  return {slots(), prompt_left(), std::int64_t{slots()} * (answer_limit_ - generated())};
}

bool Sequence::finished() const {
  const auto* finished = last_event_ ? std::get_if<Finished>(&*last_event_) : nullptr;
  return finished != nullptr && finished->reason != FinishReason::kCancelled;
}

bool Sequence::failed() const {
  return last_event_ && std::holds_alternative<Failed>(*last_event_);
}

std::span<const TokenId> Sequence::PromptChunk(int tokens) const {
  return std::span(tokens_).subspan(computed_, tokens);
}

void Sequence::CommitReused(int tokens) {
  computed_ += tokens;
  // What is reused after its cache was given up has been counted before, or was its own.
  if (sampled() == 0 && !forgotten_)
    reused_ = std::min(tokens, static_cast<int>(request().prompt.size()));
}

void Sequence::Forget() {
  parked_ = {};
  computed_ = 0;
  forgotten_ = true;
  // The last sampled token has not been computed yet: the next decode does.
  if (generated() > 0) prefill_end_ = static_cast<int>(tokens_.size()) - 1;
}

ExpectedDraft Sequence::Draft(int most) {
  // Each token's mask takes the one before: there is none yet for the second of a draft.
  if (constraint_ != nullptr || !request().drafts) return {};
  const std::size_t longest = request().prompt.size() + static_cast<std::size_t>(answer_limit_);
  if (!drafter_) drafter_.emplace(longest, most);
  // A draft that is right is followed by one more token, from the same run.
  return drafter_->Propose(tokens_, answer_limit_ - generated() - 1);
}

void Sequence::NoteLogprob(SampledLogprob logprob, const Vocabulary& vocabulary) {
  logprob.sampled.bytes = vocabulary.Bytes(logprob.sampled.token);
  for (TokenLogprob& other : logprob.top) other.bytes = vocabulary.Bytes(other.token);
  logprobs_.push_back(std::move(logprob));
}

void Sequence::CommitToken(TokenId token, std::span<const float> logits,
                           const Vocabulary& vocabulary, std::vector<Event>* events) {
  if (sampled() == 0) first_token_ = Clock::now();
  ++undelivered_;
  tokens_.push_back(token);
  if (counts_) counts_->Say(token);
  if (request().trace) {
    traced_logits_.insert(traced_logits_.end(), logits.begin(), logits.end());
  }
  ended_by_token_ = vocabulary.IsEnd(token);
  if (ended_by_token_) return Finish(FinishReason::kStop, events);
  std::string text = text_.Push(vocabulary.Bytes(token), !must_go_on());
  if (!text.empty()) Deliver(std::move(text), events);
  if (text_.stopped()) return Finish(FinishReason::kStop, events);
  if (generated() >= answer_limit_) Finish(FinishReason::kLength, events);
}

void Sequence::Deliver(std::string text, std::vector<Event>* events) {
  events->emplace_back(TextDelta{id(),
                                 answer_,
                                 std::move(text),
                                 std::exchange(undelivered_, 0),
                                 std::exchange(logprobs_, {}),
                                 {}});
  TextDelta& delta = std::get<TextDelta>(events->back());
  delta.ids.assign(tokens_.end() - delta.tokens, tokens_.end() - (ended_by_token_ ? 1 : 0));
}

void Sequence::Finish(FinishReason reason, std::vector<Event>* events) {
  std::string text = text_.Finish();
  if (!text.empty() || !logprobs_.empty()) Deliver(std::move(text), events);
  // What was held back may itself have ended with a stop string.
  last_event_ = Summary(text_.stopped() ? FinishReason::kStop : reason);
}

void Sequence::Cancel() { last_event_ = Summary(FinishReason::kCancelled); }

void Sequence::Fail(std::string message, ErrorCode code) {
  last_event_ = Failed{id(), code, std::move(message)};
}

void Sequence::TakeLastEvent(std::vector<Event>* events) {
  if (auto* finished = std::get_if<Finished>(&*last_event_)) {
    AppendEnds(*finished, request().answers - promised_, request().answers, events);
    if (request().trace) finished->tokens.assign(tokens_.end() - sampled(), tokens_.end());
    finished->logits = std::move(traced_logits_);
  }
  events->push_back(std::move(*last_event_));
}

Finished Sequence::Summary(FinishReason reason) const {
  const Clock::time_point now = Clock::now();
  const Clock::time_point begun = begun_.value_or(now);
  const Clock::time_point first = sampled() > 0 ? first_token_ : now;
  Finished finished;
  finished.id = id();
  finished.answer = answer_;
  finished.reason = reason;
  finished.stop = text_.matched();
  finished.prompt_tokens = static_cast<int>(request().prompt.size());
  finished.cached_prompt_tokens = reused_;
  finished.completion_tokens = sampled();
  finished.timings.queue = Seconds(submission_.submitted, begun);
  finished.timings.prefill = Seconds(begun, first);
  finished.timings.decode = Seconds(first, now);
  finished.timings.first_token = sampled() > 0 ? Seconds(submission_.submitted, first) : 0;
  return finished;
}

}  // namespace llmrouter
