#include "llmrouter/waiting_queue.h"

#include "llmrouter/admission.h"

namespace llmrouter {
namespace {

std::size_t RankOf(const Sequence& sequence) {
  return static_cast<std::size_t>(sequence.request().priority);
}

}  // namespace

void WaitingQueue::Push(std::unique_ptr<Sequence> sequence) {
  const Name name{sequence->id(), sequence->answer()};
  const Clock::time_point turn =
      TurnOf(sequence->submitted(), sequence->request().priority, ageing_);
  if (const auto deadline = sequence->request().deadline) deadlines_.emplace(*deadline, name);
  parked_bytes_ += sequence->parked_bytes();
  backlogs_[RankOf(*sequence)] += sequence->backlog();
  names_[name] = turn;
  turns_[{turn, name}] = std::move(sequence);
}

const Sequence* WaitingQueue::Next() const {
  return turns_.empty() ? nullptr : turns_.begin()->second.get();
}

std::unique_ptr<Sequence> WaitingQueue::Pop() {
  const Name name = turns_.begin()->first.second;
  return Take(name);
}

std::unique_ptr<Sequence> WaitingQueue::Remove(RequestId id) {
  const auto found = names_.lower_bound({id, 0});
  if (found == names_.end() || found->first.first != id) return nullptr;
  const Name name = found->first;
  return Take(name);
}

std::unique_ptr<Sequence> WaitingQueue::Take(const Name& name) {
  const auto found = names_.find(name);
  const auto turn = turns_.find({found->second, name});
  std::unique_ptr<Sequence> sequence = std::move(turn->second);
  turns_.erase(turn);
  names_.erase(found);
  if (const auto deadline = sequence->request().deadline) deadlines_.erase({*deadline, name});
  parked_bytes_ -= sequence->parked_bytes();
  backlogs_[RankOf(*sequence)] -= sequence->backlog();
  return sequence;
}

std::vector<std::unique_ptr<Sequence>> WaitingQueue::TakeExpired(Clock::time_point now) {
  std::vector<std::unique_ptr<Sequence>> expired;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const Name name = deadlines_.begin()->second;
    expired.push_back(Take(name));
  }
  return expired;
}

std::vector<RequestId> WaitingQueue::Ids() const {
  std::vector<RequestId> ids;
  for (const auto& [place, sequence] : turns_) ids.push_back(sequence->id());
  return ids;
}

}  // namespace llmrouter
