#include "llmrouter/step_plan.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace llmrouter {
namespace {

/// Fewer would spend most of their time on reading the weights.
constexpr int kLeastPrefillTokens = 32;

/// A prompt is due after as many times the time that its computation takes.
constexpr double kPatience = 2;

using Turn = std::pair<double, std::uint64_t>;

constexpr Turn kBeforeAll = {-std::numeric_limits<double>::infinity(), 0};

Turn TurnOf(const RowState& state) { return {state.due, state.arrival}; }

/// The row that still prefills, whose turn is next after `after` and whose prompt has at most
/// `longest` tokens left; -1 when there is none.
int NextPrefilling(std::span<const RowState> rows, const Turn& after, int longest) {
  int next = -1;
  for (int row = 0; row < static_cast<int>(rows.size()); ++row) {
    const RowState& state = rows[row];
    if (state.prompt_left == 0 || state.prompt_left > longest || TurnOf(state) <= after) continue;
    if (next < 0 || TurnOf(state) < TurnOf(rows[next])) next = row;
  }
  return next;
}

}  // namespace

int ChunkTokens(int prompt_left, int budget) {
  const int parts = std::max(1, (prompt_left + budget / 2) / budget);
  const int tokens = (prompt_left + parts - 1) / parts;
  return prompt_left - tokens == 1 ? prompt_left : tokens;
}

double PrefillDue(double submitted, int prompt_left, double seconds_per_prefill_token) {
  return submitted + kPatience * prompt_left * seconds_per_prefill_token;
}

int PrefillBudget(const RowCounts& rows, double decode_seconds, double seconds_per_prefill_token,
                  int prefill_chunk) {
  if (rows.decoding == 0 || decode_seconds <= 0 || seconds_per_prefill_token <= 0) {
    return prefill_chunk;
  }
  const int share = std::max(1, rows.prefilling * rows.prefilling);
  const double tokens =
      share * std::max<double>(kLeastPrefillTokens, decode_seconds / seconds_per_prefill_token);
  return tokens >= prefill_chunk ? prefill_chunk : static_cast<int>(tokens);
}

void PlanChunks(std::span<const RowState> rows, int prefill_chunk, std::vector<Chunk>* chunks) {
  chunks->clear();
  int row = NextPrefilling(rows, kBeforeAll, std::numeric_limits<int>::max());
  if (row < 0) return;
  int budget = prefill_chunk;
  int tokens = ChunkTokens(rows[row].prompt_left, budget);
  while (row >= 0) {
    chunks->push_back({row, tokens});
    budget -= tokens;
    if (tokens < rows[row].prompt_left) return;
    row = NextPrefilling(rows, TurnOf(rows[row]), budget);
    if (row >= 0) tokens = rows[row].prompt_left;
  }
}

}  // namespace llmrouter
