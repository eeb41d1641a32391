#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "llmrouter/decoder.h"
#include "llmrouter/sampling.h"
#include "llmrouter/scheduler.h"
#include "llmrouter/sequence.h"
#include "llmrouter/slots.h"
#include "llmrouter/vocabulary.h"

namespace llmrouter {

/// The running sequences and the decoder they share. Single-threaded: `Engine` gives it a thread,
/// tests step it by hand.
class Batch {
 public:
  Batch(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary, int prefill_chunk);

  const DecoderLimits& limits() const { return limits_; }
  int running() const { return slots_.used(); }
  /// Slots that neither run an answer nor are promised to one whose prompt is being computed.
  int free_slots() const;
  std::vector<RequestId> RunningIds() const;
  std::size_t cache_bytes() const { return decoder_ == nullptr ? 0 : decoder_->CacheBytes(); }
  /// Decoder runs, prompt tokens computed and tokens sampled so far.
  std::uint64_t steps() const { return steps_; }
  std::uint64_t prompt_tokens() const { return prompt_tokens_; }
  std::uint64_t completion_tokens() const { return completion_tokens_; }

  /// Joins a checked request to the running ones. A slot must be free for each of its answers.
  void Admit(Submission submission);

  /// Ends the answers of a running request and frees their slots at once. False when there is none
  /// of this id.
  bool Cancel(RequestId id, std::vector<Event>* events);

  /// Plans, runs and commits one step, appending what it produced to `events`. A decoder that
  /// fails ends the sequences it was running; the others go on.
  void Step(std::vector<Event>* events);

  /// Ends every running sequence with the same failure.
  void FailAll(const std::string& message, std::vector<Event>* events);

  /// Hands the decoder over; only when nothing runs, and nothing may be admitted afterwards.
  std::unique_ptr<Decoder> TakeDecoder() { return std::move(decoder_); }

 private:
  void Plan();
  void RunChunk(const Chunk& chunk, std::vector<Event>* events);
  /// Forks the other answers off a computed prompt and samples the first token of each.
  void BeginAnswers(int row, std::span<const float> logits, std::vector<Event>* events);
  void RunDecode(std::vector<Event>* events);
  void FailDecoding(const std::string& message);
  void SampleInto(Sequence& sequence, std::span<const float> logits, std::vector<Event>* events);
  /// Removes what is over and closes the holes.
  void Retire(std::vector<Event>* events);
  void Leave(int row);

  std::unique_ptr<Decoder> decoder_;
  const DecoderLimits limits_;
  Vocabulary vocabulary_;
  int prefill_chunk_;
  Sampler sampler_;
  SlotTable slots_;
  /// By row; the first slots_.used() are set.
  std::vector<std::unique_ptr<Sequence>> rows_;
  std::uint64_t steps_ = 0;
  std::uint64_t prompt_tokens_ = 0;
  std::uint64_t completion_tokens_ = 0;
  // Kept between steps so that a step does not allocate.
  StepPlan plan_;
  std::vector<RowState> row_states_;
  std::vector<TokenId> decode_tokens_;
  std::vector<int> decode_positions_;
};

}  // namespace llmrouter
