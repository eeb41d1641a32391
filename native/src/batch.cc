#include "llmrouter/batch.h"

#include <algorithm>
#include <new>
#include <utility>

#include "llmrouter/admission.h"

namespace llmrouter {

namespace {

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

Batch::Batch(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary, const BatchOptions& options)
    : decoder_(std::move(decoder)),
      limits_(decoder_->limits()),
      vocabulary_(std::move(vocabulary)),
      prefill_chunk_(options.prefill_chunk),
      speculation_(options.speculation),
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

void Batch::Admit(std::unique_ptr<Sequence> sequence) {
  const int row = slots_.Join();
  sequence->Begin();
  if (sequence->parked_bytes() > 0) {
    const std::vector<std::byte> cache = sequence->TakeParked();
    decoder_->Load(row, 0, sequence->computed(), cache.data());
  }
  rows_[row] = std::move(sequence);
}

std::unique_ptr<Sequence> Batch::Park(int row, std::size_t most_bytes) {
  Sequence& sequence = *rows_[row];
  const std::size_t bytes =
      static_cast<std::size_t>(sequence.computed()) * decoder_->PositionBytes();
  std::vector<std::byte> cache;
  try {
    if (bytes <= most_bytes) cache.resize(bytes);
  } catch (const std::bad_alloc&) {  // Computing again costs time; failing would cost the answer.
  }
  if (cache.empty()) {
    sequence.Forget();
  } else {
    decoder_->Save(row, 0, sequence.computed(), cache.data());
    sequence.Park(std::move(cache));
  }
  return Leave(row);
}

void Batch::Expire(Clock::time_point now, std::vector<Event>* events) {
  for (int row = 0; row < running(); ++row) {
    const auto deadline = rows_[row]->request().deadline;
    if (deadline && *deadline <= now) {
      rows_[row]->Fail("its deadline passed while it ran", ErrorCode::kDeadlineExceeded);
    }
  }
  Retire(events);
}

bool Batch::Cancel(RequestId id, std::vector<Event>* events) {
  bool found = false;
  for (int row = 0; row < running(); ++row) {
    if (rows_[row]->id() != id) continue;
    rows_[row]->Cancel();
    found = true;
  }
  Retire(events);
  return found;
}

void Batch::Step(std::vector<Event>* events) {
  const bool traced = trace_.on();
  const Clock::time_point begin = traced ? Clock::now() : Clock::time_point();
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

void Batch::FailAll(const std::string& message, std::vector<Event>* events) {
  for (int row = 0; row < running(); ++row) rows_[row]->Fail(message);
  Retire(events);
}

void Batch::ReusePrefixes() {
  for (int row = 0; row < running(); ++row) {
    Sequence& sequence = *rows_[row];
    if (sequence.computed() > 0) continue;
    const auto blocks = prefix_.Match(sequence.request().scope, sequence.request().prompt);
    if (blocks.empty()) continue;
    int position = 0;
    for (const std::byte* block : blocks) {
      decoder_->Load(row, position, PrefixCache::kBlock, block);
      position += PrefixCache::kBlock;
    }
    sequence.CommitReused(position);
    reused_tokens_ += position;
  }
}

void Batch::KeepPrefix(int row) {
  const Request& request = rows_[row]->request();
  prefix_.Insert(request.scope, request.prompt, [&](int position, std::byte* out) {
    decoder_->Save(row, position, PrefixCache::kBlock, out);
  });
}

void Batch::Plan() {
  ReusePrefixes();
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
  SampleInto(sequence, segment.logits, events);
}

void Batch::TakeChunk(const Segment& segment, std::vector<Event>* events) {
  Sequence& sequence = *rows_[segment.row];
  if (segment.failure) return sequence.Fail(segment.failure->message);
  const int tokens = static_cast<int>(segment.tokens.size());
  prompt_tokens_ += static_cast<std::uint64_t>(tokens);
  sequence.CommitComputed(tokens);
  if (segment.wanted == LogitsOf::kNone) return;
  KeepPrefix(segment.row);
  BeginAnswers(segment.row, segment.logits, events);
}

void Batch::BeginAnswers(int row, std::span<float> logits, std::vector<Event>* events) {
  Sequence& first = *rows_[row];
  while (first.promised() > 0) {
    auto fork = first.Fork();
    const int joined = slots_.Join();
    decoder_->Move(row, joined, first.computed());
    rows_[joined] = std::move(fork);
    SampleInto(*rows_[joined], logits, events);
  }
  SampleInto(first, logits, events);
}

void Batch::TakeVerified(const Segment& segment, std::vector<Event>* events) {
  Sequence& sequence = *rows_[segment.row];
  // The next step decodes: a draft must not cost the answer.
  if (segment.failure) return sequence.drafter().Stop();
  const std::span<const TokenId> draft = segment.tokens.subspan(1);
  const auto vocabulary = static_cast<std::size_t>(limits_.vocabulary);
  const bool greedy = sequence.request().sampling.temperature == 0;
  std::size_t accepted = 0;
  // Each position draws as a decoding step would. Up to the first draw that is not the draft's, it
  // has seen the same tokens, so that the answer follows the same distribution, draw by draw.
  for (bool right = true; right;) {
    const auto logits = segment.logits.subspan(accepted * vocabulary, vocabulary);
    if (greedy && !decoder_->rounds_alike() && !IsSure(logits)) {
      sequence.drafter().Skip();
      break;
    }
    const int said = sequence.generated();
    sequence.CommitComputed(1);
    SampleInto(sequence, logits, events);
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

void Batch::SampleInto(Sequence& sequence, std::span<float> logits, std::vector<Event>* events) {
  const Request& request = sequence.request();
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
  const auto token = sampler_.Sample(logits, request.sampling, state);
  if (!token.ok()) return sequence.Fail(token.failure().message);
  ++completion_tokens_;
  if (request.top_logprobs >= 0) {
    sequence.NoteLogprob(sampler_.Logprob(logits, token.value(), request.top_logprobs),
                         vocabulary_);
  }
  sequence.CommitToken(token.value(), logits, vocabulary_, events);
  if (constrained && !sequence.over()) masks_.Advance(sequence.constraint(), token.value());
}

void Batch::Retire(std::vector<Event>* events) {
  // From the last row down, so that what moves into a hole has been looked at.
  for (int row = running() - 1; row >= 0; --row) {
    if (!rows_[row]->over()) continue;
    rows_[row]->TakeLastEvent(events);
    service_seconds_.Add(rows_[row]->SecondsHeld());
    Leave(row);
  }
}

std::unique_ptr<Sequence> Batch::Leave(int row) {
  std::unique_ptr<Sequence> left = std::move(rows_[row]);
  const auto move = slots_.Leave(row);
  const int emptied = slots_.used();
  if (move) {
    decoder_->Move(move->from, move->to, rows_[move->from]->computed());
    rows_[move->to] = std::move(rows_[move->from]);
  }
  rows_[emptied].reset();
  decoder_->Release(emptied);
  return left;
}

}  // namespace llmrouter
