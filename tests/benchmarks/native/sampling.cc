// Measures what sampling one row costs, in CPU time of the thread: `name
// microseconds` per line.

#include "llmrouter/sampling.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace llmrouter {
namespace {

constexpr int kRuns = 400;
constexpr int kPrompt = 1000;
constexpr int kAnswer = 500;

double ThreadMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

/// Normal logits (Box and Muller) of this spread: 3 is like a language model in
/// doubt, 1 is flat.
std::vector<float> Logits(int size, double spread) {
  std::vector<float> logits(size);
  for (int i = 0; i < size; ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - UniformDraw(1, i)));
    logits[i] = static_cast<float>(spread * radius * std::cos(6.283185307 * UniformDraw(2, i)));
  }
  return logits;
}

TokenCounts Counts(int vocabulary) {
  std::vector<TokenId> prompt(kPrompt);
  for (int i = 0; i < kPrompt; ++i)
    prompt[i] = static_cast<TokenId>(UniformDraw(3, i) * vocabulary);
  TokenCounts counts(prompt, kAnswer);
  for (int i = 0; i < kAnswer; ++i) {
    counts.Say(static_cast<TokenId>(UniformDraw(4, i) * vocabulary));
  }
  return counts;
}

/// The median of many draws, each from a row that the caches have not just
/// seen: as after a decoder's step, which leaves a batch of rows behind.
double Median(int vocabulary, double spread, const SamplingOptions& options) {
  constexpr int kRows = 4;
  std::vector<std::vector<float>> rows(kRows, Logits(vocabulary, spread));
  const TokenCounts counts = Counts(vocabulary);
  Sampler sampler(vocabulary);
  std::vector<double> took;
  for (int run = 0; run < kRuns; ++run) {
    DrawState state;
    state.index = run;
    state.counts = &counts;
    const double began = ThreadMicroseconds();
    const auto token = sampler.Sample(rows[run % kRows], options, state);
    took.push_back(ThreadMicroseconds() - began);
    if (!token.ok()) std::exit(1);
  }
  std::nth_element(took.begin(), took.begin() + kRuns / 2, took.end());
  return took[kRuns / 2];
}

double MedianLogprob(int vocabulary) {
  std::vector<float> logits = Logits(vocabulary, 3);
  Sampler sampler(vocabulary);
  std::vector<double> took;
  for (int run = 0; run < kRuns; ++run) {
    const double began = ThreadMicroseconds();
    (void)sampler.Logprob(logits, run, 20);
    took.push_back(ThreadMicroseconds() - began);
  }
  std::nth_element(took.begin(), took.begin() + kRuns / 2, took.end());
  return took[kRuns / 2];
}

void Measure(int vocabulary) {
  SamplingOptions penalties;
  penalties.repetition_penalty = 1.1F;
  penalties.presence_penalty = 0.5F;
  penalties.frequency_penalty = 0.5F;
  SamplingOptions all = penalties;
  all.top_k = 50;
  all.top_p = 0.95F;
  SamplingOptions shaped = all;
  shaped.min_p = 0.05F;
  const std::vector<std::pair<std::string, SamplingOptions>> cases = {
      {"greedy", {.temperature = 0}}, {"temperature", {}},
      {"top_k", {.top_k = 50}},       {"top_p", {.top_p = 0.95F}},
      {"min_p", {.min_p = 0.05F}},    {"penalties", penalties},
      {"top_k_top_p_penalties", all}, {"top_k_top_p_min_p_penalties", shaped},
  };
  for (const auto& [name, options] : cases) {
    std::printf("%s_%d %.1f\n", name.c_str(), vocabulary, Median(vocabulary, 3, options));
  }
  std::printf("top_p_flat_%d %.1f\n", vocabulary, Median(vocabulary, 1, {.top_p = 0.95F}));
  std::printf("all_flat_%d %.1f\n", vocabulary, Median(vocabulary, 1, all));
  std::printf("logprobs_20_%d %.1f\n", vocabulary, MedianLogprob(vocabulary));
}

}  // namespace
}  // namespace llmrouter

int main() {
  for (const int vocabulary : {49152, 128256}) llmrouter::Measure(vocabulary);
}
