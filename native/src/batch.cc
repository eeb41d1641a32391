#include "llmrouter/batch.h"

#include <algorithm>
#include <utility>

#include "llmrouter/admission.h"

namespace llmrouter {

Batch::Batch(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary, int prefill_chunk)
    : decoder_(std::move(decoder)),
      limits_(decoder_->limits()),
      vocabulary_(std::move(vocabulary)),
      prefill_chunk_(prefill_chunk),
      sampler_(limits_.vocabulary),
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

void Batch::Admit(Submission submission) {
  const Request& request = submission.request;
  const int limit =
      AnswerLimit(static_cast<int>(request.prompt.size()), request.max_tokens, limits().context);
  rows_[slots_.Join()] = std::make_unique<Sequence>(std::move(submission), limit);
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
  Plan();
  for (const Chunk& chunk : plan_.chunks) RunChunk(chunk, events);
  if (plan_.decode_rows > 0) RunDecode(events);
  Retire(events);
}

void Batch::FailAll(const std::string& message, std::vector<Event>* events) {
  for (int row = 0; row < running(); ++row) rows_[row]->Fail(message);
  Retire(events);
}

void Batch::Plan() {
  row_states_.clear();
  for (int row = 0; row < running(); ++row) {
    row_states_.push_back({rows_[row]->prompt_left(), rows_[row]->id()});
  }
  PlanStep(row_states_, prefill_chunk_, &plan_);
}

void Batch::RunChunk(const Chunk& chunk, std::vector<Event>* events) {
  Sequence& sequence = *rows_[chunk.row];
  ++steps_;
  const auto logits =
      decoder_->Prefill(chunk.row, sequence.PromptChunk(chunk.tokens), sequence.computed());
  if (!logits.ok()) return sequence.Fail(logits.failure().message);
  prompt_tokens_ += chunk.tokens;
  sequence.CommitComputed(chunk.tokens);
  if (sequence.prompt_left() == 0) BeginAnswers(chunk.row, logits.value(), events);
}

void Batch::BeginAnswers(int row, std::span<const float> logits, std::vector<Event>* events) {
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

void Batch::RunDecode(std::vector<Event>* events) {
  decode_tokens_.clear();
  decode_positions_.clear();
  for (int row = 0; row < plan_.decode_rows; ++row) {
    // A row that is not decoding computes any token at its own next position: what that leaves in
    // the cache is overwritten by its next chunk or token.
    decode_tokens_.push_back(rows_[row]->next_token());
    decode_positions_.push_back(rows_[row]->computed());
  }
  ++steps_;
  const auto logits = decoder_->Decode(decode_tokens_, decode_positions_);
  if (!logits.ok()) return FailDecoding(logits.failure().message);
  const auto vocabulary = static_cast<std::size_t>(limits().vocabulary);
  for (int row = 0; row < plan_.decode_rows; ++row) {
    // Rows that sampled their first token in this very step decode from the next one on.
    if (row_states_[row].prompt_left > 0) continue;
    rows_[row]->CommitComputed(1);
    SampleInto(*rows_[row], logits.value().subspan(row * vocabulary, vocabulary), events);
  }
}

void Batch::FailDecoding(const std::string& message) {
  for (int row = 0; row < plan_.decode_rows; ++row) {
    if (row_states_[row].prompt_left == 0) rows_[row]->Fail(message);
  }
}

void Batch::SampleInto(Sequence& sequence, std::span<const float> logits,
                       std::vector<Event>* events) {
  const Request& request = sequence.request();
  DrawState state;
  state.index = static_cast<std::uint64_t>(sequence.generated());
  state.answer = static_cast<std::uint32_t>(sequence.answer());
  state.counts = sequence.counts();
  if (sequence.must_go_on()) state.forbidden = vocabulary_.end_tokens();
  const auto token = sampler_.Sample(logits, request.sampling, state);
  if (!token.ok()) return sequence.Fail(token.failure().message);
  ++completion_tokens_;
  if (request.top_logprobs >= 0) {
    sequence.NoteLogprob(sampler_.Logprob(logits, token.value(), request.top_logprobs),
                         vocabulary_);
  }
  sequence.CommitToken(token.value(), logits, vocabulary_, events);
}

void Batch::Retire(std::vector<Event>* events) {
  // From the last row down, so that what moves into a hole has been looked at.
  for (int row = running() - 1; row >= 0; --row) {
    if (!rows_[row]->over()) continue;
    rows_[row]->TakeLastEvent(events);
    Leave(row);
  }
}

void Batch::Leave(int row) {
  const auto move = slots_.Leave(row);
  const int emptied = slots_.used();
  if (move) {
    decoder_->Move(move->from, move->to, rows_[move->from]->computed());
    rows_[move->to] = std::move(rows_[move->from]);
  }
  rows_[emptied].reset();
  decoder_->Release(emptied);
}

}  // namespace llmrouter
