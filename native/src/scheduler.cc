#include "llmrouter/scheduler.h"

#include <utility>

#include "llmrouter/admission.h"

namespace llmrouter {

Scheduler::Scheduler(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary,
                     const SchedulerOptions& options)
    : options_(options),
      batch_(std::move(decoder), std::move(vocabulary), options.batch),
      waiting_(options.ageing),
      held_(options.ageing) {}

void Scheduler::Cancel(RequestId id, std::vector<Event>* events) {
  if (batch_.Cancel(id, events)) return;
  for (WaitingQueue* queue : {&waiting_, &held_}) {
    if (const auto sequence = queue->Remove(id)) {
      sequence->Cancel();
      sequence->TakeLastEvent(events);
    }
  }
}

void Scheduler::CancelAll(std::vector<Event>* events) {
  for (const RequestId id : waiting_.Ids()) Cancel(id, events);
  for (const RequestId id : held_.Ids()) Cancel(id, events);
  for (const RequestId id : batch_.RunningIds()) Cancel(id, events);
}

void Scheduler::Hold(RequestId id) {
  for (int row = 0; row < batch_.running(); ++row) {
    const Sequence& sequence = batch_.sequence(row);
    if (sequence.id() != id) continue;
    if (sequence.request().answers == 1) held_.Push(Park(row));
    return;
  }
  if (auto sequence = waiting_.Remove(id)) held_.Push(std::move(sequence));
}

void Scheduler::Resume(RequestId id) {
  if (auto sequence = held_.Remove(id)) waiting_.Push(std::move(sequence));
}

void Scheduler::Arrange(Clock::time_point now, std::vector<Event>* events) {
  Expire(now, events);
  Join();
}

void Scheduler::Step(std::vector<Event>* events) {
  if (batch_.running() > 0) batch_.Step(events);
}

void Scheduler::Expire(Clock::time_point now, std::vector<Event>* events) {
  for (WaitingQueue* queue : {&waiting_, &held_}) {
    for (const auto& sequence : queue->TakeExpired(now)) {
      sequence->Fail("its deadline passed while it waited", ErrorCode::kDeadlineExceeded);
      sequence->TakeLastEvent(events);
    }
  }
  batch_.Expire(now, events);
}

void Scheduler::Join() {
  while (const Sequence* next = waiting_.Next()) {
    // Who needs much room waits for it at the head of the line: passing it by would starve it.
    if (!MakeRoomFor(*next)) return;
    // Parking never changes whose turn it is: who was parked has a later one.
    batch_.Admit(waiting_.Pop());
  }
}

Room Scheduler::free() const {
  Room room{batch_.free_slots()};
  if (options_.positions > 0) room.positions = options_.positions - batch_.reserved();
  return room;
}

bool Scheduler::MakeRoomFor(const Sequence& next) {
  const Room need{next.request().answers, next.reserved()};
  if (Covers(free(), need)) return true;
  Room able = free();
  for (int row = 0; row < batch_.running(); ++row) {
    const Sequence& sequence = batch_.sequence(row);
    if (!GivesWay(sequence, next)) continue;
    ++able.slots;
    if (options_.positions > 0) able.positions += sequence.reserved();
  }
  if (!Covers(able, need)) return false;
  while (!Covers(free(), need)) ParkLatest(next);
  return true;
}

void Scheduler::ParkLatest(const Sequence& next) {
  int last = -1;
  for (int row = 0; row < batch_.running(); ++row) {
    const Sequence& sequence = batch_.sequence(row);
    if (!GivesWay(sequence, next)) continue;
    if (last < 0 || Turn(sequence) > Turn(batch_.sequence(last))) last = row;
  }
  waiting_.Push(Park(last));
  ++preemptions_;
}

std::unique_ptr<Sequence> Scheduler::Park(int row) {
  const std::size_t parked = parked_bytes();
  const std::size_t left = options_.parked_bytes > parked ? options_.parked_bytes - parked : 0;
  return batch_.Park(row, left);
}

bool Scheduler::GivesWay(const Sequence& running, const Sequence& next) const {
  return running.request().priority < next.request().priority && Turn(running) > Turn(next) &&
         running.request().answers == 1;  // Answers that share a prompt stay together.
}

Clock::time_point Scheduler::Turn(const Sequence& sequence) const {
  return TurnOf(sequence.submitted(), sequence.request().priority, options_.ageing);
}

}  // namespace llmrouter
