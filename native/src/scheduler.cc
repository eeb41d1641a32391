#include "llmrouter/scheduler.h"

#include <utility>

#include "llmrouter/admission.h"

namespace llmrouter {

Scheduler::Scheduler(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary,
                     const SchedulerOptions& options)
    : options_(options),
      batch_(std::move(decoder), std::move(vocabulary), options.batch),
      waiting_(options.ageing) {}

void Scheduler::Cancel(RequestId id, std::vector<Event>* events) {
  if (batch_.Cancel(id, events)) return;
  if (const auto sequence = waiting_.Remove(id)) {
    sequence->Cancel();
    sequence->TakeLastEvent(events);
  }
}

void Scheduler::CancelAll(std::vector<Event>* events) {
  for (const RequestId id : waiting_.Ids()) Cancel(id, events);
  for (const RequestId id : batch_.RunningIds()) Cancel(id, events);
}

void Scheduler::Arrange(Clock::time_point now, std::vector<Event>* events) {
  Expire(now, events);
  Join();
}

void Scheduler::Step(std::vector<Event>* events) {
  if (batch_.running() > 0) batch_.Step(events);
}

void Scheduler::Expire(Clock::time_point now, std::vector<Event>* events) {
  for (const auto& sequence : waiting_.TakeExpired(now)) {
    sequence->Fail("its deadline passed while it waited", ErrorCode::kDeadlineExceeded);
    sequence->TakeLastEvent(events);
  }
  batch_.Expire(now, events);
}

void Scheduler::Join() {
  while (const Sequence* next = waiting_.Next()) {
    // Who needs several slots waits for them at the head of the line: passing it by would starve
    // it.
    while (batch_.free_slots() < next->request().answers) {
      if (!MakeRoomFor(*next)) return;
    }
    // Parking never changes whose turn it is: who was parked has a later one.
    batch_.Admit(waiting_.Pop());
  }
}

bool Scheduler::MakeRoomFor(const Sequence& next) {
  const auto turn = [this](const Sequence& sequence) {
    return TurnOf(sequence.submitted(), sequence.request().priority, options_.ageing);
  };
  int last = -1;
  for (int row = 0; row < batch_.running(); ++row) {
    const Sequence& sequence = batch_.sequence(row);
    if (sequence.request().priority >= next.request().priority) continue;
    // Answers that share a prompt stay together.
    if (sequence.request().answers > 1) continue;
    if (last < 0 || turn(sequence) > turn(batch_.sequence(last))) last = row;
  }
  if (last < 0 || turn(batch_.sequence(last)) <= turn(next)) return false;
  const std::size_t parked = waiting_.parked_bytes();
  const std::size_t left = options_.parked_bytes > parked ? options_.parked_bytes - parked : 0;
  waiting_.Push(batch_.Park(last, left));
  ++preemptions_;
  return true;
}

}  // namespace llmrouter
