#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// What a batch of whole requests may look like.
struct GroupingLimits {
  /// Requests of one batch; at least 1.
  int max_batch = 16;
  /// Positions of one batch, padding counted: requests times the longest. A request longer than
  /// this runs alone. At least 1.
  int max_positions = 16384;
  /// Share of a batch's positions that may be padding; 0 to below 1.
  double max_padding = 0.25;
  /// How long a request waits for company.
  Clock::duration window = std::chrono::milliseconds(2);
};

/// One waiting request, as grouping sees it.
struct Waiting {
  /// Tokens, at least 1.
  int length = 1;
  /// When it runs even without company (`DueAt`).
  Clock::time_point due;
  /// Only requests of one kind share a batch.
  std::int64_t kind = 0;
};

/// A batch to run now, or when there will be one.
struct Grouping {
  /// Indices into the waiting requests, ascending; empty while none is due.
  std::vector<std::size_t> members;
  /// When the next batch is due; `max()` when nobody waits. Only without members.
  Clock::time_point due = Clock::time_point::max();
};

/// Share of the positions that is padding when requests of `tokens` tokens together are padded to
/// the longest.
double PaddingShare(std::int64_t tokens, int longest, int requests);

/// When a request stops waiting for company: after the window, at once where its deadline comes
/// before the window's end.
Clock::time_point DueAt(Clock::time_point submitted, std::optional<Clock::time_point> deadline,
                        Clock::duration window);

/// Requests, first in turn, among which a batch is sought. Where none goes with another each is
/// compared with all, under the lock that submitting takes, so this bounds how long it is held.
std::size_t GroupingHorizon(const GroupingLimits& limits);

/// Chooses the next batch from `waiting`, which is in order of turns and is read up to the horizon.
/// Whoever is first and not yet in a batch gathers those behind it, in turn, that are of its kind
/// and keep the batch within `limits`. The first such batch that is full or has a member that is
/// due runs.
Grouping NextGroup(std::span<const Waiting> waiting, const GroupingLimits& limits,
                   Clock::time_point now);

}  // namespace llmrouter
