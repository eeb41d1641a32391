#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "llmrouter/prompt_lookup.h"
#include "llmrouter/request.h"

namespace llmrouter {

/// Speculative decoding (Leviathan et al. 2023) with drafts from the text itself.
struct SpeculationOptions {
  /// Tokens drafted at once at most; 0 drafts none.
  int tokens = 0;
  /// Sequences that may run while drafts are verified: with more, the tokens of a step cost more
  /// than the pass over the weights that they share.
  int rows = 4;
};

/// How one sequence drafts, by what became of its drafts so far.
struct DraftPace {
  /// Mean share of a draft that was accepted; later drafts count more.
  double accepted = 0.6;
  /// Tokens to draft next.
  int tokens = 4;
  /// Decoding steps still to go without a draft, and how many the next pause will have.
  int pause = 0;
  int next_pause = 8;
};

/// Updates a pace by a draft of `drafted` tokens, at least one, of which the first `accepted` were
/// right. Drafts grow while they are accepted whole, up to `most`, and shrink to what was accepted.
/// Refused drafts lead to a pause, and each pause is twice as long as the one before, up to 128
/// steps, until a whole draft is accepted.
void NoteDraft(int drafted, int accepted, int most, DraftPace* pace);

/// What one running sequence has drafted.
struct ExpectedDraft {
  /// 0 when it has no draft.
  int tokens = 0;
  /// Share of them that will be accepted, most likely.
  double accepted = 0;
};

/// Whether verifying the drafts of all running sequences, in one run or in one each, brings every
/// one of them more tokens per second than a decoding step for all. By the costs of runs as
/// measured on CPUs, not as measured now: what is drafted, and with it every bit of an answer
/// computed alone, does not depend on the moment.
bool WorthVerifying(std::span<const ExpectedDraft> drafts, bool in_one_run);

/// Whether the two highest logits, of all tokens or of those that a mask allows, are so far apart
/// that rounding otherwise would not change which is the highest. With activations rounded to 8
/// bits, runs of one token and of several disagreed only where they were less than 0.28 apart (700
/// tokens of text, SmolLM2-135M).
bool IsSure(std::span<const float> logits, std::span<const std::uint32_t> allowed = {});

/// The drafts of one sequence.
class Drafter {
 public:
  /// For a text that may become `tokens` long, and drafts of at most `most`.
  Drafter(std::size_t tokens, int most) : most_(most), lookup_(tokens) {}

  /// Drafts at most `most` tokens that continue `text`; to be called once per decoding step.
  ExpectedDraft Propose(std::span<const TokenId> text, int most);

  /// What was proposed last.
  std::span<const TokenId> draft() const { return draft_; }

  /// Notes that the first `accepted` tokens of the draft were right.
  void Note(int accepted);

  /// Drafts nothing next time: the next token is to be decoded.
  void Skip() { skip_ = true; }

  /// Drafts no more.
  void Stop() { most_ = 0; }

 private:
  int most_;
  PromptLookup lookup_;
  DraftPace pace_;
  bool skip_ = false;
  std::vector<TokenId> draft_;
};

}  // namespace llmrouter
