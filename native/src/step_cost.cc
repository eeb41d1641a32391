#include "llmrouter/step_cost.h"

#include <algorithm>

namespace llmrouter {
namespace {

constexpr double kFading = 0.98;

/// Share of the mean square of sizes that must be their variance: steps of about one size say
/// nothing of what a token more would cost.
constexpr double kLeastSpread = 0.01;

}  // namespace

void StepCost::Add(int tokens, double seconds) {
  weight_ = kFading * weight_ + 1;
  tokens_ = kFading * tokens_ + tokens;
  squares_ = kFading * squares_ + static_cast<double>(tokens) * tokens;
  seconds_ = kFading * seconds_ + seconds;
  products_ = kFading * products_ + tokens * seconds;
  const double spread = weight_ * squares_ - tokens_ * tokens_;
  if (spread < kLeastSpread * weight_ * squares_) return;
  // No token is free, and none costs more than a step has taken per token.
  const double slope = (weight_ * products_ - tokens_ * seconds_) / spread;
  if (slope > 0) per_token_ = std::min(slope, seconds_ / tokens_);
}

double StepCost::Seconds(int tokens) const {
  if (weight_ == 0) return 0;
  const double mean = seconds_ / weight_ + per_token_ * (tokens - tokens_ / weight_);
  return std::max(mean, per_token_ * tokens);
}

}  // namespace llmrouter
