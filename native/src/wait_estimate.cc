#include "llmrouter/wait_estimate.h"

#include <algorithm>

namespace llmrouter {
namespace {

/// Tokens that an answer is taken to have, where it may, until some have ended.
constexpr double kUsualAnswer = 256;

/// What a token to prefill takes of a step, until it was measured.
constexpr double kPromptShare = 0.125;

/// One that has said more than the mean is taken to say as large a part of it again.
constexpr double kLeastLeft = 0.25;

Pace Assumed(Pace pace) {
  if (pace.answer_tokens == 0) pace.answer_tokens = kUsualAnswer;
  if (pace.prompt_token_seconds == 0) pace.prompt_token_seconds = kPromptShare * pace.step_seconds;
  return pace;
}

double TokensLeft(const RunningLoad& one, double mean) {
  return std::min<double>(one.limit - one.said, std::max(mean - one.said, kLeastLeft * mean));
}

/// By slot, the seconds until it is free; the least first.
std::vector<double> FreeIn(const EngineLoad& load, const Pace& pace, Priority priority,
                           Clock::time_point turn) {
  // Prompts are computed one after another, and meanwhile all decode more slowly.
  double prefill = 0;
  for (const RunningLoad& one : load.running)
    prefill += one.prompt_left * pace.prompt_token_seconds;
  std::vector<double> free_in(static_cast<std::size_t>(load.free_slots), 0);
  for (const RunningLoad& one : load.running) {
    const bool gives_way = one.priority < priority && one.turn > turn;
    const double left = prefill + TokensLeft(one, pace.answer_tokens) * pace.step_seconds;
    free_in.insert(free_in.end(), static_cast<std::size_t>(one.slots), gives_way ? 0 : left);
  }
  std::ranges::sort(free_in);
  return free_in;
}

/// Lets those who wait have their slots first, each as long as the mean of them.
void Take(const Backlog& ahead, const Pace& pace, std::vector<double>* free_in) {
  if (ahead.answers == 0) return;
  const auto slots = static_cast<std::int64_t>(free_in->size());
  const auto answers = static_cast<double>(ahead.answers);
  const double said =
      std::min(static_cast<double>(ahead.answer_tokens), answers * pace.answer_tokens);
  // What is prefilled for one holds up every slot.
  const double prefill = static_cast<double>(ahead.prompt_tokens * slots);
  const double each = (prefill * pace.prompt_token_seconds + said * pace.step_seconds) / answers;
  const std::int64_t rounds = ahead.answers / slots;
  const std::int64_t rest = ahead.answers % slots;
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    (*free_in)[slot] += each * static_cast<double>(rounds + (slot < rest ? 1 : 0));
  }
  std::ranges::sort(*free_in);
}

}  // namespace

Backlog& Backlog::operator+=(const Backlog& more) {
  answers += more.answers;
  prompt_tokens += more.prompt_tokens;
  answer_tokens += more.answer_tokens;
  return *this;
}

Backlog& Backlog::operator-=(const Backlog& less) {
  answers -= less.answers;
  prompt_tokens -= less.prompt_tokens;
  answer_tokens -= less.answer_tokens;
  return *this;
}

double WaitForSlots(const EngineLoad& load, Priority priority, Clock::time_point turn,
                    int answers) {
  const Pace pace = Assumed(load.pace);
  std::vector<double> free_in = FreeIn(load, pace, priority, turn);
  if (free_in.empty()) return 0;
  Backlog ahead;
  for (auto rank = static_cast<std::size_t>(priority); rank < load.waiting.size(); ++rank) {
    ahead += load.waiting[rank];
  }
  Take(ahead, pace, &free_in);
  return free_in[std::min(static_cast<std::size_t>(answers), free_in.size()) - 1];
}

}  // namespace llmrouter
