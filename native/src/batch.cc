#include "llmrouter/batch.h"

#include <algorithm>
#include <utility>

#include "llmrouter/admission.h"
#include "vector_math.h"

namespace llmrouter {

namespace {

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// What one position has of the values of several, `size` each.
template <typename Value>
std::span<Value> Part(std::span<Value> values, std::size_t position, std::size_t size) {
  return values.subspan(position * size, size);
}

}  // namespace

Batch::Batch(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary, const BatchOptions& options)
    : decoder_(std::move(decoder)),
      limits_(decoder_->limits()),
      vocabulary_(std::move(vocabulary)),
      prefill_chunk_(options.prefill_chunk),
      speculation_(options.speculation),
      tried_seconds_(decoder_->tried_seconds()),
      prefix_(decoder_->PositionBytes(), options.prefix_bytes),
      sampler_(limits_.vocabulary),
      masks_(options.mask_timeout),
      slots_(limits_.slots),
      rows_(static_cast<std::size_t>(slots_.slots())) {}

std::vector<RequestId> Batch::RunningIds() const {
  std::vector<RequestId> ids;
  for (int row = 0; row < running(); ++row) ids.push_back(rows_[row]->id());
  return ids;
}

int Batch::free_slots() const {
  int promised = 0;
  for (int row = 0; row < running(); ++row) promised += rows_[row]->promised();
  return slots_.free() - promised;
}

std::int64_t Batch::reserved() const {
  std::int64_t positions = 0;
  for (int row = 0; row < running(); ++row) positions += rows_[row]->reserved();
  return positions;
}

Pace Batch::pace() const {
  Pace pace;
  pace.answer_tokens = answer_tokens_.value();
  pace.prompt_token_seconds = cost_.TokenSeconds();
  if (pace.prompt_token_seconds > 0) {
    pace.step_seconds = cost_.Seconds(std::max(1, running()));
  } else {
    pace.step_seconds = decode_seconds() > 0 ? decode_seconds() : tried_seconds_;
  }
  return pace;
}

void Batch::Step(std::vector<Event>* events) {
  const bool traced = trace_.on();
  const Clock::time_point begin = traced ? Clock::now() : Clock::time_point();
  ReusePrefixes();
  Retire(events);
  Plan();
  StepRecord record = traced ? Planned(begin) : StepRecord();
  Compute();
  if (traced) record.computed = Clock::now();
  for (Segment& segment : segments_) Take(segment, events);
  const bool ran = !segments_.empty();
  Retire(events);
  if (!traced || !ran) return;
  record.end = Clock::now();
  trace_.Add(record);
}

StepRecord Batch::Planned(Clock::time_point begin) const {
  StepRecord record;
  record.begin = begin;
  record.planned = Clock::now();
  for (const Chunk& chunk : chunks_) record.prompt_tokens += chunk.tokens;
  record.decoding = static_cast<int>(segments_.size() - chunks_.size());
  record.drafted = static_cast<int>(decode_tokens_.size()) - record.decoding;
  return record;
}

void Batch::Plan() {
  row_states_.clear();
  RowCounts counts;
  for (int row = 0; row < running(); ++row) {
    const Sequence& sequence = *rows_[row];
    const double submitted =
        std::chrono::duration<double>(sequence.submitted().time_since_epoch()).count();
    row_states_.push_back({sequence.prompt_left(), sequence.id(),
                           PrefillDue(submitted, sequence.prompt_left(), cost_.TokenSeconds())});
    ++(sequence.prompt_left() == 0 ? counts.decoding : counts.prefilling);
  }
  PlanChunks(
      row_states_,
      PrefillBudget(counts, cost_.Seconds(counts.decoding), cost_.TokenSeconds(), prefill_chunk_),
      &chunks_);
  PlanSegments(counts.prefilling == 0 && ProposeDrafts());
}

void Batch::PlanSegments(bool drafting) {
  segments_.clear();
  const auto most = static_cast<std::size_t>(1 + (drafting ? speculation_.tokens : 0));
  // Segments point into it.
  decode_tokens_.clear();
  decode_tokens_.reserve(most * static_cast<std::size_t>(running()));
  for (const Chunk& chunk : chunks_) {
    const Sequence& sequence = *rows_[chunk.row];
    // The last chunk of one that is computed again needs none either: its next token is there.
    const bool last = chunk.tokens == sequence.prompt_left() && sequence.generated() == 0;
    segments_.push_back({chunk.row, sequence.PromptChunk(chunk.tokens), sequence.computed(),
                         last ? LogitsOf::kLast : LogitsOf::kNone});
  }
  for (int row = 0; row < running(); ++row) {
    Sequence& sequence = *rows_[row];
    if (sequence.prompt_left() > 0) continue;
    const std::size_t begin = decode_tokens_.size();
    decode_tokens_.push_back(sequence.next_token());
    if (drafting) {
      const std::span<const TokenId> draft = sequence.drafter().draft();
      decode_tokens_.insert(decode_tokens_.end(), draft.begin(), draft.end());
    }
    segments_.push_back({row, std::span(decode_tokens_).subspan(begin), sequence.computed(),
                         drafting ? LogitsOf::kEvery : LogitsOf::kLast});
  }
}

bool Batch::ProposeDrafts() {
  if (speculation_.tokens == 0 || running() > speculation_.rows || !decoder_->verifies()) {
    return false;
  }
  drafts_.clear();
  for (int row = 0; row < running(); ++row) {
    drafts_.push_back(rows_[row]->Draft(speculation_.tokens));
  }
  return WorthVerifying(drafts_, decoder_->mixes());
}

void Batch::Compute() {
  if (segments_.empty()) return;
  ++steps_;
  const Clock::time_point begin = Clock::now();
  decoder_->Run(segments_);
  const double seconds = SecondsSince(begin);
  decoder_seconds_ += seconds;
  int tokens = 0;
  for (const Segment& segment : segments_) tokens += static_cast<int>(segment.tokens.size());
  cost_.Add(tokens, seconds);
  if (segments_.size() > chunks_.size()) decode_seconds_.Add(seconds);
  patience_ = Clock::now() + MaskPatience(decode_seconds_.value());
}

void Batch::Take(Segment& segment, std::vector<Event>* events) {
  Sequence& sequence = *rows_[segment.row];
  if (sequence.prompt_left() > 0) return TakeChunk(segment, events);
  if (segment.tokens.size() > 1) return TakeVerified(segment, events);
  if (segment.failure) return sequence.Fail(segment.failure->message);
  if (!MayDraw(sequence)) return;
  sequence.CommitComputed(1);
  SampleInto(sequence, segment, 0, events);
}

void Batch::TakeChunk(const Segment& segment, std::vector<Event>* events) {
  Sequence& sequence = *rows_[segment.row];
  if (segment.failure) return sequence.Fail(segment.failure->message);
  const int tokens = static_cast<int>(segment.tokens.size());
  prompt_tokens_ += static_cast<std::uint64_t>(tokens);
  sequence.CommitComputed(tokens);
  if (segment.wanted == LogitsOf::kNone) return;
  BeginAnswers(segment, events);
  // What gave no usable logits would give none to others either.
  if (!sequence.failed()) Keep(segment.row, sequence.request().prompt);
}

void Batch::TakeVerified(const Segment& segment, std::vector<Event>* events) {
  Sequence& sequence = *rows_[segment.row];
  // The next step decodes: a draft must not cost the answer.
  if (segment.failure) return sequence.drafter().Stop();
  const std::span<const TokenId> draft = segment.tokens.subspan(1);
  const bool greedy = sequence.request().sampling.temperature == 0;
  std::size_t accepted = 0;
  // Each position draws as a decoding step would. Up to the first draw that is not the draft's, it
  // has seen the same tokens, so that the answer follows the same distribution, draw by draw.
  for (bool right = true; right;) {
    if (greedy && !decoder_->rounds_alike() &&
        !IsSureOf(sequence, Part(segment.logits, accepted, limits_.vocabulary))) {
      sequence.drafter().Skip();
      break;
    }
    const int said = sequence.generated();
    sequence.CommitComputed(1);
    SampleInto(sequence, segment, accepted, events);
    right = sequence.generated() > said && accepted < draft.size() &&
            sequence.next_token() == draft[accepted];
    accepted += right ? 1 : 0;
    right = right && !sequence.over();
  }
  drafted_tokens_ += draft.size();
  accepted_tokens_ += accepted;
  sequence.drafter().Note(static_cast<int>(accepted));
}

bool Batch::MayDraw(Sequence& sequence) {
  if (sequence.constraint() == nullptr) return true;
  const auto ready = masks_.Wait(*sequence.constraint(), patience_);
  if (ready.ok()) return ready.value();
  sequence.Fail(ready.failure().message);
  return false;
}

bool Batch::IsSureOf(const Sequence& sequence, std::span<float> logits) {
  return sampler_.LookAtAdjusted(logits, sequence.request().sampling, DrawStateOf(sequence),
                                 IsSure);
}

DrawState Batch::DrawStateOf(const Sequence& sequence) const {
  DrawState state;
  state.index = static_cast<std::uint64_t>(sequence.generated());
  state.answer = static_cast<std::uint32_t>(sequence.answer());
  state.counts = sequence.counts();
  const bool constrained = sequence.constraint() != nullptr;
  if (constrained) state.allowed = sequence.constraint()->allowed();
  // Where nothing else can follow, an answer ends whatever `min_tokens` says.
  if (sequence.must_go_on() &&
      !(constrained && AllowsOnly(state.allowed, vocabulary_.end_tokens()))) {
    state.forbidden = vocabulary_.end_tokens();
  }
  return state;
}

void Batch::SampleInto(Sequence& sequence, const Segment& segment, std::size_t position,
                       std::vector<Event>* events) {
  const Request& request = sequence.request();
  const auto vocabulary = static_cast<std::size_t>(limits_.vocabulary);
  const std::span<float> logits = Part(segment.logits, position, vocabulary);
  DrawState state = DrawStateOf(sequence);
  if (!segment.maxima.empty()) state.maxima = Part(segment.maxima, position, Blocks(vocabulary));
  const auto token = sampler_.Sample(logits, request.sampling, state);
  if (!token.ok()) return sequence.Fail(token.failure().message);
  ++completion_tokens_;
  if (request.top_logprobs >= 0) {
    sequence.NoteLogprob(sampler_.Logprob(logits, token.value(), request.top_logprobs),
                         vocabulary_);
  }
  sequence.CommitToken(token.value(), logits, vocabulary_, events);
  if (sequence.constraint() != nullptr && !sequence.over())
    masks_.Advance(sequence.constraint(), token.value());
}

}  // namespace llmrouter
