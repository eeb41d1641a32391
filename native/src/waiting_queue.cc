#include "llmrouter/waiting_queue.h"

#include "llmrouter/admission.h"

namespace llmrouter {

void WaitingQueue::Push(std::unique_ptr<Sequence> sequence) {
  const RequestId id = sequence->id();
  const Place place{TurnOf(sequence->submitted(), sequence->request().priority, ageing_), id};
  if (const auto deadline = sequence->request().deadline) deadlines_.emplace(*deadline, id);
  parked_bytes_ += sequence->parked_bytes();
  places_[id] = place;
  turns_[place] = std::move(sequence);
}

const Sequence* WaitingQueue::Next() const {
  return turns_.empty() ? nullptr : turns_.begin()->second.get();
}

std::unique_ptr<Sequence> WaitingQueue::Pop() { return Remove(turns_.begin()->first.second); }

std::unique_ptr<Sequence> WaitingQueue::Remove(RequestId id) {
  const auto found = places_.find(id);
  if (found == places_.end()) return nullptr;
  const auto turn = turns_.find(found->second);
  std::unique_ptr<Sequence> sequence = std::move(turn->second);
  turns_.erase(turn);
  places_.erase(found);
  if (const auto deadline = sequence->request().deadline) deadlines_.erase({*deadline, id});
  parked_bytes_ -= sequence->parked_bytes();
  return sequence;
}

std::vector<std::unique_ptr<Sequence>> WaitingQueue::TakeExpired(Clock::time_point now) {
  std::vector<std::unique_ptr<Sequence>> expired;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    expired.push_back(Remove(deadlines_.begin()->second));
  }
  return expired;
}

std::vector<RequestId> WaitingQueue::Ids() const {
  std::vector<RequestId> ids;
  for (const auto& [place, sequence] : turns_) ids.push_back(place.second);
  return ids;
}

}  // namespace llmrouter
