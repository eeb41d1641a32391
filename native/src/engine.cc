#include "llmrouter/engine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "llmrouter/admission.h"

namespace llmrouter {

Engine::Engine(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary,
               const EngineOptions& options)
    : options_(options),
      batch_(std::move(decoder), std::move(vocabulary), options.prefill_chunk),
      context_(batch_.limits().context) {
  if (options.prefill_chunk < 2) {
    throw Error(ErrorCode::kInvalidArgument, "prefill_chunk must be at least 2");
  }
  if (options.max_waiting < 0) {
    throw Error(ErrorCode::kInvalidArgument, "max_waiting must be at least 0");
  }
  statistics_.slots = batch_.limits().slots;
  thread_ = std::thread(&Engine::Run, this);
}

Engine::~Engine() { Stop(); }

RequestId Engine::Submit(Request request) {
  const DecoderLimits& limits = batch_.limits();
  CheckRequest(request, {limits.context, limits.vocabulary, options_.max_waiting, limits.slots});
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) throw Error(ErrorCode::kStopped, "the engine has been stopped");
    const int waiting = static_cast<int>(waiting_.size());
    if (!MayWait(waiting, limits.slots - statistics_.running, options_.max_waiting)) {
      throw Error(ErrorCode::kQueueFull, "all " + std::to_string(limits.slots) +
                                             " slots are busy and " + std::to_string(waiting) +
                                             " requests are waiting, as many as may");
    }
    id = next_id_++;
    waiting_.push_back({id, std::move(request), Clock::now()});
  }
  work_.notify_one();
  return id;
}

void Engine::Cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  work_.notify_one();
}

void Engine::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

EngineStatistics Engine::Statistics() const {
  const std::lock_guard lock(mutex_);
  EngineStatistics statistics = statistics_;
  statistics.waiting = static_cast<int>(waiting_.size());
  statistics.cache_bytes = batch_.cache_bytes();
  return statistics;
}

void Engine::Run() {
  while (TakeWork()) {
    if (batch_.running() > 0) Step();
    {
      // Before the events: who hears that a sequence has ended sees its slot free.
      const std::lock_guard lock(mutex_);
      UpdateStatistics();
    }
    delivery_.Publish(&events_);
  }
  delivery_.Publish(&events_);
  FreeModel();
}

void Engine::FreeModel() {
  std::unique_ptr<Decoder> decoder;
  {
    const std::lock_guard lock(mutex_);
    decoder = batch_.TakeDecoder();
  }
  // Freed here, outside the lock: it takes longer than a caller of Statistics should wait.
}

void Engine::Step() {
  try {
    batch_.Step(&events_);
  } catch (const std::exception& error) {  // Out of memory, most likely: the thread must survive.
    batch_.FailAll(error.what(), &events_);
  }
}

bool Engine::TakeWork() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [this] {
    return stopping_ || batch_.running() > 0 || !waiting_.empty() || !cancelled_.empty();
  });
  if (stopping_) {
    CancelEverything();
  } else {
    CancelRequested();
    AdmitWaiting();
  }
  UpdateStatistics();
  return !stopping_;
}

void Engine::UpdateStatistics() {
  // A slot that is promised to an answer cannot be had either.
  statistics_.running = statistics_.slots - batch_.free_slots();
  statistics_.steps = batch_.steps();
  statistics_.prompt_tokens = batch_.prompt_tokens();
  statistics_.completion_tokens = batch_.completion_tokens();
}

void Engine::CancelRequested() {
  for (const RequestId id : cancelled_) {
    if (batch_.Cancel(id, &events_)) continue;
    const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                    [id](const Submission& waiting) { return waiting.id == id; });
    if (found == waiting_.end()) continue;
    CancelWhileWaiting(*found, &events_);
    waiting_.erase(found);
  }
  cancelled_.clear();
}

void Engine::CancelEverything() {
  for (const Submission& waiting : waiting_) cancelled_.push_back(waiting.id);
  for (const RequestId id : batch_.RunningIds()) cancelled_.push_back(id);
  CancelRequested();
}

void Engine::AdmitWaiting() {
  int joining = Admissible(static_cast<int>(waiting_.size()), batch_.free_slots());
  // Who needs several slots waits for them at the head of the line: passing it by would starve it.
  for (; joining > 0 && waiting_.front().request.answers <= batch_.free_slots(); --joining) {
    batch_.Admit(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

}  // namespace llmrouter
