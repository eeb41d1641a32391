#include "llmrouter/grouping.h"

#include <algorithm>
#include <utility>

namespace llmrouter {
namespace {

constexpr std::size_t kHorizon = 256;

/// A batch being gathered.
class Gathering {
 public:
  Gathering(std::span<const Waiting> waiting, const GroupingLimits& limits)
      : waiting_(waiting), limits_(limits) {}

  /// Adds a request if it fits; the first one always does.
  void Offer(std::size_t index) {
    if (!members_.empty() && waiting_[index].kind != waiting_[members_.front()].kind) return;
    const int longest = std::max(longest_, waiting_[index].length);
    const std::int64_t tokens = tokens_ + waiting_[index].length;
    const int requests = static_cast<int>(members_.size()) + 1;
    if (!members_.empty() && (std::int64_t{longest} * requests > limits_.max_positions ||
                              PaddingShare(tokens, longest, requests) > limits_.max_padding)) {
      return;
    }
    longest_ = longest;
    tokens_ = tokens;
    due_ = std::min(due_, waiting_[index].due);
    members_.push_back(index);
  }

  /// Whether no request at all fits any more.
  bool full() const {
    const auto requests = static_cast<std::int64_t>(members_.size());
    return requests >= limits_.max_batch ||
           std::int64_t{longest_} * (requests + 1) > limits_.max_positions;
  }
  Clock::time_point due() const { return due_; }
  std::vector<std::size_t>& members() { return members_; }

 private:
  std::span<const Waiting> waiting_;
  const GroupingLimits& limits_;
  std::vector<std::size_t> members_;
  int longest_ = 0;
  std::int64_t tokens_ = 0;
  Clock::time_point due_ = Clock::time_point::max();
};

}  // namespace

double PaddingShare(std::int64_t tokens, int longest, int requests) {
  const double positions = static_cast<double>(longest) * requests;
  return positions <= 0 ? 0 : 1 - static_cast<double>(tokens) / positions;
}

Clock::time_point DueAt(Clock::time_point submitted, std::optional<Clock::time_point> deadline,
                        Clock::duration window) {
  return deadline && *deadline <= submitted + window ? submitted : submitted + window;
}

std::size_t GroupingHorizon(const GroupingLimits& limits) {
  return std::max(kHorizon, static_cast<std::size_t>(limits.max_batch));
}

Grouping NextGroup(std::span<const Waiting> waiting, const GroupingLimits& limits,
                   Clock::time_point now) {
  waiting = waiting.first(std::min(waiting.size(), GroupingHorizon(limits)));
  Grouping grouping;
  std::vector<char> gathered(waiting.size(), 0);
  for (std::size_t leader = 0; leader < waiting.size(); ++leader) {
    if (gathered[leader] != 0) continue;
    Gathering batch(waiting, limits);
    for (std::size_t one = leader; one < waiting.size() && !batch.full(); ++one) {
      if (gathered[one] == 0) batch.Offer(one);
    }
    if (batch.full() || batch.due() <= now) {
      grouping.members = std::move(batch.members());
      return grouping;
    }
    grouping.due = std::min(grouping.due, batch.due());
    for (const std::size_t member : batch.members()) gathered[member] = 1;
  }
  return grouping;
}

}  // namespace llmrouter
