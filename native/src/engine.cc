#include "llmrouter/engine.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "llmrouter/admission.h"

namespace llmrouter {

namespace {

/// How often the deadlines of those who are held are looked at while nothing else runs.
constexpr std::chrono::milliseconds kHeldLook{100};

void NoteWaiting(const Sequence& sequence, EngineLoad* load) {
  load->waiting[static_cast<std::size_t>(sequence.request().priority)] += sequence.backlog();
}

/// One answer may not come to hold more than there is memory for.
DecoderLimits Bounded(DecoderLimits limits, std::int64_t positions) {
  if (positions > 0)
    limits.context = static_cast<int>(std::min<std::int64_t>(limits.context, positions));
  return limits;
}

}  // namespace

Engine::Engine(std::unique_ptr<Decoder> decoder, Vocabulary vocabulary,
               const SchedulerOptions& options)
    : options_(options),
      scheduler_(std::move(decoder), std::move(vocabulary), options),
      limits_(Bounded(scheduler_.batch().limits(), options.positions)),
      rounds_alike_(scheduler_.batch().rounds_alike()) {
  if (options.batch.prefill_chunk < 2) {
    throw Error(ErrorCode::kInvalidArgument, "prefill_chunk must be at least 2");
  }
  if (options.max_waiting < 0) {
    throw Error(ErrorCode::kInvalidArgument, "max_waiting must be at least 0");
  }
  if (options.batch.speculation.tokens < 0) {
    throw Error(ErrorCode::kInvalidArgument, "speculation_tokens must be at least 0");
  }
  statistics_.slots = limits_.slots;
  scheduler_.Tell(&load_);
  thread_ = std::thread(&Engine::Run, this);
}

Engine::~Engine() { Stop(); }

RequestId Engine::Submit(Request request) {
  AdmissionLimits limits{
      .context = limits_.context, .vocabulary = limits_.vocabulary, .slots = limits_.slots};
  if (options_.positions > 0) limits.positions = options_.positions;
  CheckRequest(request, limits);
  const int answer =
      AnswerLimit(static_cast<int>(request.prompt.size()), request.max_tokens, limits_.context);
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) throw Error(ErrorCode::kStopped, "the engine has been stopped");
    CheckQueue();
    id = next_id_++;
    ++statistics_.waiting;
    submitted_.push_back(
        std::make_unique<Sequence>(Submission{id, std::move(request), Clock::now()}, answer));
    submitted_.back()->TakeAnswered(scheduler_.batch().vocabulary());
    NoteWaiting(*submitted_.back(), &load_);
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

void Engine::SetHeld(RequestId id, bool held) {
  {
    const std::lock_guard lock(mutex_);
    held_.emplace_back(id, held);
  }
  work_.notify_one();
}

void Engine::ForgetPrefixes(std::size_t keep_bytes) {
  {
    const std::lock_guard lock(mutex_);
    keep_prefixes_ = std::min(keep_bytes, keep_prefixes_.value_or(keep_bytes));
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
  statistics.cache_bytes = scheduler_.batch().cache_bytes();
  statistics.estimated_wait_seconds = WaitNow(Priority::kNormal, 1);
  return statistics;
}

double Engine::EstimatedWait(Priority priority, int answers) const {
  const std::lock_guard lock(mutex_);
  return WaitNow(priority, answers);
}

double Engine::WaitNow(Priority priority, int answers) const {
  return WaitForSlots(load_, priority, TurnOf(Clock::now(), priority, options_.ageing), answers);
}

void Engine::CheckQueue() const {
  const int free = limits_.slots - statistics_.running;
  if (MayWait(statistics_.waiting + statistics_.held, free, options_.max_waiting)) return;
  throw Error(ErrorCode::kQueueFull,
              std::to_string(statistics_.running) + " of " + std::to_string(limits_.slots) +
                  " slots are busy, " + std::to_string(statistics_.waiting) +
                  " requests are waiting and " + std::to_string(statistics_.held) +
                  " are held for their readers; a queue of " +
                  std::to_string(options_.max_waiting) + " takes no more");
}

void Engine::Run() {
  while (TakeWork()) {
    Guarded([this] { scheduler_.Arrange(Clock::now(), &events_); });
    UpdateStatistics();
    Guarded([this] { scheduler_.Step(&events_); });
    // Before the events: who hears that a sequence has ended sees its slot free.
    UpdateStatistics();
    delivery_.Publish(&events_);
  }
  scheduler_.CancelAll(&events_);
  UpdateStatistics();
  delivery_.Publish(&events_);
  FreeModel();
}

void Engine::FreeModel() {
  std::unique_ptr<Decoder> decoder;
  {
    const std::lock_guard lock(mutex_);
    decoder = scheduler_.TakeDecoder();
  }
  // Freed here, outside the lock: it takes longer than a caller of Statistics should wait.
}

template <typename Work>
void Engine::Guarded(Work work) {
  try {
    work();
  } catch (const std::bad_alloc&) {  // The thread must survive.
    scheduler_.FailRunning("the machine has no memory left for this step", &events_);
  } catch (const std::exception& error) {
    scheduler_.FailRunning(error.what(), &events_);
  }
}

bool Engine::TakeWork() {
  std::vector<std::unique_ptr<Sequence>> submitted;
  std::vector<RequestId> cancelled;
  std::vector<std::pair<RequestId, bool>> held;
  std::optional<std::size_t> keep_prefixes;
  bool stopping = false;
  {
    std::unique_lock lock(mutex_);
    const auto has_work = [this] {
      return stopping_ || !scheduler_.idle() || !submitted_.empty() || !cancelled_.empty() ||
             !held_.empty() || keep_prefixes_.has_value();
    };
    if (!has_work()) {
      busy_before_ += std::chrono::duration<double>(Clock::now() - woken_).count();
      if (scheduler_.held() > 0) {
        work_.wait_for(lock, kHeldLook, has_work);
      } else {
        work_.wait(lock, has_work);
      }
      woken_ = Clock::now();
    }
    submitted.swap(submitted_);
    cancelled.swap(cancelled_);
    held.swap(held_);
    keep_prefixes.swap(keep_prefixes_);
    stopping = stopping_;
  }
  for (auto& sequence : submitted) scheduler_.Add(std::move(sequence));
  for (const RequestId id : cancelled) scheduler_.Cancel(id, &events_);
  for (const auto& change : held) {
    Guarded([&] {
      change.second ? scheduler_.Hold(change.first, &events_) : scheduler_.Resume(change.first);
    });
  }
  if (keep_prefixes.has_value()) {
    scheduler_.ForgetPrefixes(*keep_prefixes);
#ifdef __GLIBC__
    malloc_trim(0);  // Whoever asks is short of memory, and the heap would keep what was freed.
#endif
  }
  return !stopping;
}

void Engine::UpdateStatistics() {
  const std::lock_guard lock(mutex_);
  const Batch& batch = scheduler_.batch();
  // A slot that is promised to an answer cannot be had either.
  statistics_.running = limits_.slots - batch.free_slots();
  statistics_.waiting = scheduler_.waiting() + static_cast<int>(submitted_.size());
  statistics_.held = scheduler_.held();
  statistics_.steps = batch.steps();
  statistics_.prompt_tokens = batch.prompt_tokens();
  statistics_.completion_tokens = batch.completion_tokens();
  statistics_.reused_tokens = batch.reused_tokens();
  statistics_.preemptions = scheduler_.preemptions();
  statistics_.drafted_tokens = batch.drafted_tokens();
  statistics_.accepted_tokens = batch.accepted_tokens();
  statistics_.busy_seconds =
      busy_before_ + std::chrono::duration<double>(Clock::now() - woken_).count();
  statistics_.decoder_seconds = batch.decoder_seconds();
  statistics_.step_seconds = batch.decode_seconds();
  statistics_.prefix_bytes = batch.prefix_bytes();
  statistics_.parked_bytes = scheduler_.parked_bytes();
  scheduler_.Tell(&load_);
  for (const auto& sequence : submitted_) NoteWaiting(*sequence, &load_);
}

}  // namespace llmrouter
