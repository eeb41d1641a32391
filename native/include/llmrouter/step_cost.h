#pragma once

namespace llmrouter {

/// How long a step takes by the tokens it computes: a pass over the weights and so much per token,
/// fitted to the steps seen by least squares in which each step counts 2 % less than the next.
class StepCost {
 public:
  /// `tokens` is at least 1.
  void Add(int tokens, double seconds);

  /// What a step of so many tokens takes; 0 before the first.
  double Seconds(int tokens) const;

  /// What one more token takes; 0 before two steps of different sizes.
  double TokenSeconds() const { return per_token_; }

 private:
  double weight_ = 0;
  double tokens_ = 0;
  double squares_ = 0;
  double seconds_ = 0;
  double products_ = 0;
  double per_token_ = 0;
};

}  // namespace llmrouter
