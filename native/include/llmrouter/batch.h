#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "llmrouter/decoder.h"
#include "llmrouter/mask_worker.h"
#include "llmrouter/prefix_cache.h"
#include "llmrouter/sampling.h"
#include "llmrouter/sequence.h"
#include "llmrouter/slots.h"
#include "llmrouter/speculation.h"
#include "llmrouter/step_cost.h"
#include "llmrouter/step_plan.h"
#include "llmrouter/step_trace.h"
#include "llmrouter/vocabulary.h"
#include "llmrouter/wait_estimate.h"

namespace llmrouter {

struct BatchOptions {
  /// Prompt tokens computed per step at most; at least 2.
  int prefill_chunk = 256;
  /// Memory for the keys and values of earlier prompts and answers, in bytes; 0 keeps none.
  std::size_t prefix_bytes = 0;
  SpeculationOptions speculation = {};
  /// How long the mask of a constrained answer may take before the answer fails.
  Clock::duration mask_timeout = std::chrono::seconds(5);
};

/// A mean that follows what it measures: each new value counts a tenth.
class RunningMean {
 public:
  void Add(double value) { mean_ = mean_ == 0 ? value : 0.9 * mean_ + 0.1 * value; }
  /// 0 before the first value.
  double value() const { return mean_; }

 private:
  double mean_ = 0;
};

/// The running sequences and the decoder they share. Single-threaded: `Scheduler` steps it.
class Batch {
 public:
  Batch(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary, const BatchOptions& options);

  const DecoderLimits& limits() const { return limits_; }
  int running() const { return slots_.used(); }
  /// Slots that neither run an answer nor are promised to one whose prompt is being computed.
  int free_slots() const;
  /// Positions of the cache that the running answers and those promised can come to hold.
  std::int64_t reserved() const;
  std::vector<RequestId> RunningIds() const;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  bool rounds_alike() const { return decoder_->rounds_alike(); }
  std::size_t cache_bytes() const { return decoder_ == nullptr ? 0 : decoder_->CacheBytes(); }
  /// Steps that ran the decoder, prompt tokens computed and tokens sampled so far.
  std::uint64_t steps() const { return steps_; }
  std::uint64_t prompt_tokens() const { return prompt_tokens_; }
  std::uint64_t completion_tokens() const { return completion_tokens_; }
  std::uint64_t reused_tokens() const { return reused_tokens_; }
  /// Tokens drafted and verified so far, and those of them that became part of an answer.
  std::uint64_t drafted_tokens() const { return drafted_tokens_; }
  std::uint64_t accepted_tokens() const { return accepted_tokens_; }
  std::size_t prefix_bytes() const { return prefix_.bytes(); }
  void ForgetPrefixes(std::size_t keep_bytes) { prefix_.Shrink(keep_bytes); }
  /// Seconds spent in decoder runs so far.
  double decoder_seconds() const { return decoder_seconds_; }
  /// Mean seconds of a step in which rows decode.
  double decode_seconds() const { return decode_seconds_.value(); }
  Pace pace() const;
  /// Running sequence `row`, of 0..running()-1.
  const Sequence& sequence(int row) const { return *rows_[row]; }

  /// Its steps, for whoever looks; any thread may.
  StepTrace& trace() const { return trace_; }

  /// Joins a sequence to the running ones. A slot must be free for each of its answers. Keys and
  /// values that it brings along and that cannot be copied end it, wherever that is tried.
  void Admit(std::unique_ptr<Sequence> sequence, std::vector<Event>* events);

  /// Takes a running sequence out. Its keys and values go with it when they take no more than
  /// `most_bytes`; otherwise it will compute them again. Null when they could not be copied.
  std::unique_ptr<Sequence> Park(int row, std::size_t most_bytes, std::vector<Event>* events);

  /// Ends the running sequences whose deadline has passed.
  void Expire(Clock::time_point now, std::vector<Event>* events);

  /// Ends the answers of a running request and frees their slots at once.
  void Cancel(RequestId id, std::vector<Event>* events);

  /// Plans, runs and commits one step, appending what it produced to `events`. A decoder that
  /// fails ends the sequences it was running; the others go on.
  void Step(std::vector<Event>* events);

  /// Ends the answers of a running request with the same failure.
  void Fail(RequestId id, const std::string& message, ErrorCode code, std::vector<Event>* events);

  /// Ends every running sequence with the same failure.
  void FailAll(const std::string& message, std::vector<Event>* events);

  /// Hands the decoder over; only when nothing runs, and nothing may be admitted afterwards.
  std::unique_ptr<Decoder> TakeDecoder() { return std::move(decoder_); }

 private:
  /// Decides what the next step computes.
  void Plan();
  void PlanSegments(bool drafting);
  /// Whether every running sequence has a draft, and verifying these is worth it.
  bool ProposeDrafts();
  void Compute();
  StepRecord Planned(Clock::time_point begin) const;
  /// Takes what a segment gave into its sequence.
  void Take(Segment& segment, std::vector<Event>* events);
  void TakeChunk(const Segment& segment, std::vector<Event>* events);
  void TakeVerified(const Segment& segment, std::vector<Event>* events);
  void ReusePrefixes();
  /// Keeps the keys and values of the first tokens of a row, which are `tokens`, for prompts that
  /// begin with them.
  void Keep(int row, std::span<const TokenId> tokens);
  /// Runs a copy of keys and values; one that fails ends the sequence that they belong to. Whether
  /// it went well.
  template <typename Copy>
  static bool Copied(Sequence& sequence, Copy copy);
  /// Forks the other answers off a computed prompt and samples the first token of each.
  void BeginAnswers(const Segment& segment, std::vector<Event>* events);
  /// Whether the mask of a row is there. One that is late computes the same token again in the next
  /// step, to the bit, so that nobody waits for it; one that cannot be had fails.
  bool MayDraw(Sequence& sequence);
  /// Draws from what a segment gave for one of the positions that were wanted.
  void SampleInto(Sequence& sequence, const Segment& segment, std::size_t position,
                  std::vector<Event>* events);
  DrawState DrawStateOf(const Sequence& sequence) const;
  /// Whether a greedy token would be the same one however the logits were rounded.
  bool IsSureOf(const Sequence& sequence, std::span<float> logits);
  /// Removes what is over and closes the holes.
  void Retire(std::vector<Event>* events);
  /// Whoever moves into the hole may fail on the way, and is over then.
  std::unique_ptr<Sequence> Leave(int row);

  std::unique_ptr<Decoder> decoder_;
  const DecoderLimits limits_;
  const Vocabulary vocabulary_;
  int prefill_chunk_;
  SpeculationOptions speculation_;
  const double tried_seconds_;
  PrefixCache prefix_;
  Sampler sampler_;
  MaskWorker masks_;
  SlotTable slots_;
  /// By row; the first slots_.used() are set.
  std::vector<std::unique_ptr<Sequence>> rows_;
  std::uint64_t steps_ = 0;
  std::uint64_t prompt_tokens_ = 0;
  std::uint64_t completion_tokens_ = 0;
  std::uint64_t reused_tokens_ = 0;
  std::uint64_t drafted_tokens_ = 0;
  std::uint64_t accepted_tokens_ = 0;
  double decoder_seconds_ = 0;
  StepCost cost_;
  mutable StepTrace trace_;
  RunningMean decode_seconds_;
  /// Of the answers that were said to their end.
  RunningMean answer_tokens_;
  // Kept between steps so that a step does not allocate.
  std::vector<RowState> row_states_;
  std::vector<Chunk> chunks_;
  std::vector<TokenId> decode_tokens_;
  std::vector<Segment> segments_;
  std::vector<ExpectedDraft> drafts_;
  /// Until when masks are waited for in this step.
  Clock::time_point patience_;
};

}  // namespace llmrouter
