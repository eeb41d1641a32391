#include "llmrouter/sequence_batcher.h"

#include <algorithm>

#include "llmrouter/admission.h"

namespace llmrouter {
namespace {

/// Share that the newest observation has in a mean.
constexpr double kNewest = 0.2;

double Seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

double Mean(double so_far, double newest) {
  return so_far <= 0 ? newest : so_far + kNewest * (newest - so_far);
}

void CheckOptions(const BatcherOptions& options) {
  const auto refuse = [](const char* message) {
    throw Error(ErrorCode::kInvalidArgument, message);
  };
  const GroupingLimits& grouping = options.grouping;
  if (options.max_waiting < 1) refuse("max_waiting must be at least 1");
  if (options.ageing < Clock::duration::zero()) refuse("ageing must be at least 0");
  if (grouping.max_batch < 1) refuse("max_batch must be at least 1");
  if (grouping.max_positions < 1) refuse("max_positions must be at least 1");
  if (!(grouping.max_padding >= 0 && grouping.max_padding < 1)) {
    refuse("max_padding must be at least 0 and below 1");
  }
  if (grouping.window < Clock::duration::zero()) refuse("window must be at least 0");
}

}  // namespace

SequenceBatcher::SequenceBatcher(const BatcherOptions& options) : options_(options) {
  CheckOptions(options);
}

RequestId SequenceBatcher::Submit(int length, Priority priority,
                                  std::optional<Clock::time_point> deadline, std::int64_t kind) {
  if (length < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "length must be at least 1, got " + std::to_string(length));
  }
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) throw Error(ErrorCode::kStopped, "the batcher has been stopped");
    const Clock::time_point now = Clock::now();
    DropExpired(now);
    if (static_cast<int>(turns_.size()) >= options_.max_waiting) {
      throw Error(ErrorCode::kQueueFull,
                  std::to_string(turns_.size()) + " requests are waiting, as many as may");
    }
    id = next_id_++;
    Entry& entry = entries_[id];
    entry.length = length;
    entry.kind = kind;
    entry.submitted = now;
    entry.turn = TurnOf(now, priority, options_.ageing);
    entry.deadline = deadline;
    turns_[{entry.turn, id}] = id;
    if (deadline) deadlines_[{*deadline, id}] = id;
  }
  news_.notify_one();
  return id;
}

int SequenceBatcher::Room() {
  const std::lock_guard lock(mutex_);
  DropExpired(Clock::now());
  return std::max(0, options_.max_waiting - static_cast<int>(turns_.size()));
}

void SequenceBatcher::Cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  CancelEntry(id);
}

std::vector<RequestId> SequenceBatcher::Take(Clock::duration patience) {
  std::unique_lock lock(mutex_);
  const Clock::time_point give_up = Clock::now() + patience;
  while (!stopped_) {
    const Clock::time_point now = Clock::now();
    DropExpired(now);
    const Grouping grouping = Group(now);
    if (!grouping.members.empty()) {
      std::vector<RequestId> batch = TakeMembers(grouping.members, now);
      // What is left may be due as well, and another worker may be idle.
      if (!turns_.empty()) news_.notify_one();
      return batch;
    }
    if (now >= give_up) break;
    Clock::time_point wake = std::min(give_up, grouping.due);
    if (!deadlines_.empty()) wake = std::min(wake, deadlines_.begin()->first.first);
    news_.wait_until(lock, wake);
  }
  return {};
}

bool SequenceBatcher::Wanted(RequestId id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  const auto& deadline = found->second.deadline;
  if (!deadline || *deadline > Clock::now()) return true;
  End(id, Failed{id, ErrorCode::kDeadlineExceeded, "its deadline passed while it ran"});
  return false;
}

void SequenceBatcher::Publish(RequestId id, const std::string& text, int tokens) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.taken) return;
  Entry& entry = found->second;
  if (!entry.first_token) entry.first_token = Clock::now();
  entry.untold_tokens += tokens;
  if (text.empty()) return;
  TextDelta delta;
  delta.id = id;
  delta.text = text;
  delta.tokens = std::exchange(entry.untold_tokens, 0);
  Send(std::move(delta));
}

void SequenceBatcher::Finish(RequestId id, FinishReason reason, const std::string& stop,
                             int completion_tokens) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.taken) return;
  LearnDuration(found->second);
  statistics_.completion_tokens += static_cast<std::uint64_t>(std::max(0, completion_tokens));
  Finished finished = Summary(id, found->second, reason);
  finished.stop = stop;
  finished.completion_tokens = completion_tokens;
  End(id, std::move(finished));
}

void SequenceBatcher::Fail(RequestId id, ErrorCode code, const std::string& message) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.taken) return;
  End(id, Failed{id, code, message});
}

void SequenceBatcher::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    std::vector<RequestId> ids;
    for (const auto& [id, entry] : entries_) ids.push_back(id);
    std::sort(ids.begin(), ids.end());
    for (const RequestId id : ids) CancelEntry(id);
  }
  news_.notify_all();
}

bool SequenceBatcher::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

BatcherStatistics SequenceBatcher::Statistics() const {
  const std::lock_guard lock(mutex_);
  BatcherStatistics statistics = statistics_;
  statistics.waiting = static_cast<int>(turns_.size());
  statistics.running = static_cast<int>(entries_.size() - turns_.size());
  const int size = std::max(1, static_cast<int>(batch_size_));
  const int idle = statistics.running > 0 ? 0 : size;
  statistics.estimated_wait_seconds =
      EstimateWait(statistics.waiting, idle, size, statistics.batch_seconds);
  return statistics;
}

Grouping SequenceBatcher::Group(Clock::time_point now) const {
  const std::size_t horizon = std::min(turns_.size(), GroupingHorizon(options_.grouping));
  std::vector<Waiting> waiting;
  waiting.reserve(horizon);
  for (auto turn = turns_.begin(); waiting.size() < horizon; ++turn) {
    const Entry& entry = entries_.at(turn->second);
    const Clock::time_point due = DueAt(entry.submitted, entry.deadline, options_.grouping.window);
    waiting.push_back({entry.length, due, entry.kind});
  }
  return NextGroup(waiting, options_.grouping, now);
}

std::vector<RequestId> SequenceBatcher::TakeMembers(const std::vector<std::size_t>& members,
                                                    Clock::time_point now) {
  std::vector<RequestId> batch;
  std::size_t index = 0;
  auto next = members.begin();
  for (auto turn = turns_.begin(); next != members.end(); ++index) {
    if (*next != index) {
      ++turn;
      continue;
    }
    batch.push_back(turn->second);
    turn = turns_.erase(turn);
    ++next;
  }
  int longest = 0;
  for (const RequestId id : batch) {
    Entry& entry = entries_.at(id);
    entry.taken = now;
    entry.company = static_cast<int>(batch.size());
    if (entry.deadline) deadlines_.erase({*entry.deadline, id});
    statistics_.tokens += entry.length;
    longest = std::max(longest, entry.length);
  }
  statistics_.batches += 1;
  statistics_.requests += batch.size();
  statistics_.positions += static_cast<std::uint64_t>(longest) * batch.size();
  return batch;
}

void SequenceBatcher::DropExpired(Clock::time_point now) {
  while (!deadlines_.empty() && deadlines_.begin()->first.first <= now) {
    const RequestId id = deadlines_.begin()->second;
    statistics_.expired += 1;
    End(id, Failed{id, ErrorCode::kDeadlineExceeded, "its deadline passed while it waited"});
  }
}

void SequenceBatcher::End(RequestId id, Event event) {
  const auto found = entries_.find(id);
  turns_.erase({found->second.turn, id});
  if (found->second.deadline) deadlines_.erase({*found->second.deadline, id});
  entries_.erase(found);
  Send(std::move(event));
}

Finished SequenceBatcher::Summary(RequestId id, const Entry& entry, FinishReason reason) const {
  const Clock::time_point now = Clock::now();
  const Clock::time_point taken = entry.taken.value_or(now);
  const Clock::time_point first = entry.first_token.value_or(now);
  Finished finished;
  finished.id = id;
  finished.reason = reason;
  finished.prompt_tokens = entry.length;
  finished.timings.queue = Seconds(taken - entry.submitted);
  finished.timings.prefill = Seconds(first - taken);
  finished.timings.decode = Seconds(now - first);
  if (entry.first_token) finished.timings.first_token = Seconds(first - entry.submitted);
  return finished;
}

void SequenceBatcher::CancelEntry(RequestId id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  End(id, Summary(id, found->second, FinishReason::kCancelled));
}

void SequenceBatcher::LearnDuration(const Entry& entry) {
  statistics_.batch_seconds = Mean(statistics_.batch_seconds, Seconds(Clock::now() - *entry.taken));
  batch_size_ = Mean(batch_size_, entry.company);
}

void SequenceBatcher::Send(Event event) {
  std::vector<Event> events;
  events.push_back(std::move(event));
  delivery_.Publish(&events);
}

}  // namespace llmrouter
