#include "llmrouter/speculation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

namespace llmrouter {
namespace {

/// How far the last draft moves the mean.
constexpr double kWeight = 0.3;
/// Below this share drafts cost more than they bring.
constexpr double kLeastAccepted = 0.25;
constexpr int kShortestDraft = 2;
constexpr int kFirstPause = 8;
constexpr int kLongestPause = 128;

/// What one more token in a verification, and one more row in a decoding step, cost of a decoding
/// step of one row.
constexpr double kTokenCost = 0.2;
constexpr double kRowCost = 0.2;

/// Distance of two logits that rounding does not bridge.
constexpr float kSureDistance = 0.3F;

struct TwoHighest {
  float highest = -std::numeric_limits<float>::infinity();
  float second = -std::numeric_limits<float>::infinity();

  void Take(float logit) {
    second = std::max(second, std::min(highest, logit));
    highest = std::max(highest, logit);
  }

  void TakeAll(std::span<const float> logits) {
    // Lanes of their own do not wait for each other.
    std::array<TwoHighest, 8> lanes;
    std::size_t at = 0;
    for (; at + lanes.size() <= logits.size(); at += lanes.size()) {
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane].Take(logits[at + lane]);
    }
    for (; at < logits.size(); ++at) Take(logits[at]);
    for (const TwoHighest& lane : lanes) {
      Take(lane.highest);
      Take(lane.second);
    }
  }

  void TakeAllowed(std::span<const float> logits, std::span<const std::uint32_t> allowed) {
    for (std::size_t word = 0; word < allowed.size(); ++word) {
      for (std::uint32_t left = allowed[word]; left != 0; left &= left - 1) {
        const std::size_t token = word * 32 + static_cast<std::size_t>(std::countr_zero(left));
        if (token < logits.size()) Take(logits[token]);
      }
    }
  }
};

}  // namespace

void NoteDraft(int drafted, int accepted, int most, DraftPace* pace) {
  const double share = static_cast<double>(accepted) / drafted;
  pace->accepted += kWeight * (share - pace->accepted);
  if (accepted == drafted) {
    pace->tokens = std::max(pace->tokens, std::min(most, 2 * drafted));
    if (drafted >= kShortestDraft) pace->next_pause = kFirstPause;
  } else {
    pace->tokens = std::clamp(accepted + 1, std::min(kShortestDraft, most), most);
  }
  if (pace->accepted >= kLeastAccepted) return;
  // After the pause a short draft tries again: accepted, it is followed by another at once.
  pace->accepted = kLeastAccepted;
  pace->tokens = std::min(kShortestDraft, most);
  pace->pause = pace->next_pause;
  pace->next_pause = std::min(2 * pace->next_pause, kLongestPause);
}

bool WorthVerifying(std::span<const ExpectedDraft> drafts, bool in_one_run) {
  if (drafts.empty()) return false;
  const double decoding = 1 + kRowCost * static_cast<double>(drafts.size() - 1);
  double verifying = in_one_run ? decoding : static_cast<double>(drafts.size());
  for (const ExpectedDraft& draft : drafts) verifying += kTokenCost * draft.tokens;
  return std::ranges::all_of(drafts, [&](const ExpectedDraft& draft) {
    return draft.tokens > 0 && (1 + draft.accepted * draft.tokens) * decoding > verifying;
  });
}

bool IsSure(std::span<const float> logits, std::span<const std::uint32_t> allowed) {
  TwoHighest found;
  if (allowed.empty()) {
    found.TakeAll(logits);
  } else {
    found.TakeAllowed(logits, allowed);
  }
  return found.highest - found.second >= kSureDistance;
}

ExpectedDraft Drafter::Propose(std::span<const TokenId> text, int most) {
  draft_.clear();
  if (std::exchange(skip_, false)) return {};
  if (pace_.pause > 0) {
    --pace_.pause;
    return {};
  }
  const int tokens = std::min({most, most_, pace_.tokens});
  if (tokens > 0) lookup_.Draft(text, tokens, &draft_);
  return {static_cast<int>(draft_.size()), pace_.accepted};
}

void Drafter::Note(int accepted) {
  NoteDraft(static_cast<int>(draft_.size()), accepted, most_, &pace_);
}

}  // namespace llmrouter
