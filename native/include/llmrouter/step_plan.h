#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmrouter {

/// What the planner needs to know of one running row.
struct RowState {
  /// Prompt tokens not yet computed; 0 once the sequence decodes.
  int prompt_left = 0;
  /// Of rows due at the same time, earlier arrivals prefill first.
  std::uint64_t arrival = 0;
  /// The row due first prefills first; seconds of any clock, see `PrefillDue`.
  double due = 0;
};

/// When a prompt is due that came at `submitted`: as much later as computing what is left of it
/// takes twice over. So a short prompt overtakes a long one that came a little earlier, which it
/// hardly delays, and none can be overtaken for ever.
double PrefillDue(double submitted, int prompt_left, double seconds_per_prefill_token);

/// A piece of one row's prompt.
struct Chunk {
  int row = 0;
  int tokens = 0;
};

/// Tokens of a prompt's next chunk when about `budget` fit: what is left in equal parts, the number
/// of them rounded, since a small remainder would cost a pass over the weights of its own. At most
/// half as many more than the budget (plus one where it is 2 or 3). Never leaves a single token
/// behind: a chunk of one rounds differently from the same token inside a longer chunk.
int ChunkTokens(int prompt_left, int budget);

/// How many rows wait for what.
struct RowCounts {
  /// Those that decode, for their next token.
  int decoding = 0;
  /// Those that still prefill, for their first.
  int prefilling = 0;
};

/// Prompt tokens that a step may compute beside its decoding rows, at most `prefill_chunk`. For one
/// prompt they may take as long as the decoding itself, so that a long one about doubles the gap
/// between tokens, or as many as are worth a pass over the weights, which on fast processors is
/// more. The more prompts wait for their first token, the longer: each waits for all others, so the
/// time grows with the square of their number. Larger steps compute more tokens a second, and
/// prompts that queue need them.
int PrefillBudget(const RowCounts& rows, double decode_seconds, double seconds_per_prefill_token,
                  int prefill_chunk);

/// Plans what the next step computes of prompts. The prefilling row that is due first gets a chunk
/// of about `prefill_chunk` tokens, as `ChunkTokens` says; later ones follow while the rest of
/// their prompt fits whole, since a fragment costs a full pass over the weights.
void PlanChunks(std::span<const RowState> rows, int prefill_chunk, std::vector<Chunk>* chunks);

}  // namespace llmrouter
