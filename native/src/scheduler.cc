#include "llmrouter/scheduler.h"

#include <algorithm>
#include <string>
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
  batch_.Cancel(id, events);
  for (WaitingQueue* queue : {&waiting_, &held_}) {
    while (const auto sequence = queue->Remove(id)) {
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

void Scheduler::Hold(RequestId id, std::vector<Event>* events) {
  const auto running = std::ranges::count(batch_.RunningIds(), id);
  if (waiting_.size() + held_.size() + running > options_.max_waiting) return Refuse(id, events);
  while (auto sequence = waiting_.Remove(id)) held_.Push(std::move(sequence));
  // From the last row down: what moves into a hole has been looked at.
  for (int row = batch_.running() - 1; row >= 0; --row) {
    if (row < batch_.running() && batch_.sequence(row).id() == id) Park(row, &held_, events);
  }
}

void Scheduler::Refuse(RequestId id, std::vector<Event>* events) {
  const std::string message = "its reader is too far behind, and as many wait or are held as may";
  batch_.Fail(id, message, ErrorCode::kSlowReader, events);
  while (const auto sequence = waiting_.Remove(id)) {
    sequence->Fail(message, ErrorCode::kSlowReader);
    sequence->TakeLastEvent(events);
  }
}

void Scheduler::Resume(RequestId id) {
  while (auto sequence = held_.Remove(id)) waiting_.Push(std::move(sequence));
}

void Scheduler::Arrange(Clock::time_point now, std::vector<Event>* events) {
  Expire(now, events);
  Join(events);
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

void Scheduler::Join(std::vector<Event>* events) {
  while (const Sequence* next = waiting_.Next()) {
    // Who needs much room waits for it at the head of the line: passing it by would starve it.
    if (!MakeRoomFor(*next, events)) return;
    // Parking never changes whose turn it is: who was parked has a later one.
    batch_.Admit(waiting_.Pop(), events);
  }
}

Room Scheduler::free() const {
  Room room{batch_.free_slots()};
  if (options_.positions > 0) room.positions = options_.positions - batch_.reserved();
  return room;
}

void Scheduler::Tell(EngineLoad* load) const {
  load->running.clear();
  for (int row = 0; row < batch_.running(); ++row) {
    const Sequence& sequence = batch_.sequence(row);
    load->running.push_back({sequence.request().priority, Turn(sequence), sequence.slots(),
                             sequence.prompt_left(), sequence.generated(), sequence.limit()});
  }
  // Where memory is short, fewer run than there are slots, and the free ones are no room.
  load->free_slots = waiting_.size() > 0 ? 0 : batch_.free_slots();
  load->waiting = waiting_.backlogs();
  load->pace = batch_.pace();
}

bool Scheduler::MakeRoomFor(const Sequence& next, std::vector<Event>* events) {
  const Room need{next.slots(), next.reserved()};
  if (Covers(free(), need)) return true;
  Room able = free();
  for (int row = 0; row < batch_.running(); ++row) {
    const Sequence& sequence = batch_.sequence(row);
    if (!GivesWay(sequence, next)) continue;
    able.slots += sequence.slots();
    if (options_.positions > 0) able.positions += sequence.reserved();
  }
  if (!Covers(able, need)) return false;
  while (!Covers(free(), need)) ParkLatest(next, events);
  return true;
}

void Scheduler::ParkLatest(const Sequence& next, std::vector<Event>* events) {
  int last = -1;
  for (int row = 0; row < batch_.running(); ++row) {
    const Sequence& sequence = batch_.sequence(row);
    if (!GivesWay(sequence, next)) continue;
    if (last < 0 || Turn(sequence) > Turn(batch_.sequence(last))) last = row;
  }
  Park(last, &waiting_, events);
  ++preemptions_;
}

void Scheduler::Park(int row, WaitingQueue* queue, std::vector<Event>* events) {
  const std::size_t parked = parked_bytes();
  const std::size_t left = options_.parked_bytes > parked ? options_.parked_bytes - parked : 0;
  if (auto sequence = batch_.Park(row, left, events)) queue->Push(std::move(sequence));
}

bool Scheduler::GivesWay(const Sequence& running, const Sequence& next) const {
  return running.request().priority < next.request().priority && Turn(running) > Turn(next);
}

Clock::time_point Scheduler::Turn(const Sequence& sequence) const {
  return TurnOf(sequence.submitted(), sequence.request().priority, options_.ageing);
}

}  // namespace llmrouter
