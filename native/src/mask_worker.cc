#include "llmrouter/mask_worker.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>

namespace llmrouter {

MaskWorker::~MaskWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void MaskWorker::Advance(const std::shared_ptr<Constraint>& constraint, TokenId token) {
  {
    const std::lock_guard lock(mutex_);
    constraint->token_ = token;
    constraint->pending_ = true;
    constraint->asked_ = Clock::now();
    asked_.push_back(constraint);
  }
  if (!thread_.joinable()) thread_ = std::thread(&MaskWorker::Run, this);
  work_.notify_one();
}

Result<bool> MaskWorker::Wait(const Constraint& constraint, Clock::time_point until) {
  std::unique_lock lock(mutex_);
  if (done_.wait_until(lock, until, [&] { return !constraint.pending_; })) {
    if (constraint.failure_) return *constraint.failure_;
    return true;
  }
  if (Clock::now() - constraint.asked_ < timeout_) return false;
  const auto seconds = std::chrono::duration<double>(timeout_).count();
  return Failure{"the grammar took longer than " + std::to_string(seconds) +
                 " s to say which tokens may come next"};
}

void MaskWorker::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stopping_ || !asked_.empty(); });
    if (stopping_) return;
    taken_.swap(asked_);
    for (std::shared_ptr<Constraint>& constraint : taken_) {
      lock.unlock();
      // The answer may have ended meanwhile: then nobody else holds it.
      if (constraint.use_count() > 1) Compute(*constraint);
      lock.lock();
      if (stopping_) return;
      constraint->pending_ = false;
      done_.notify_one();
      lock.unlock();
      constraint.reset();
      lock.lock();
    }
    taken_.clear();
  }
}

void MaskWorker::Compute(Constraint& constraint) {
  std::optional<Failure> failure;
  try {
    if (constraint.matcher_ == nullptr) {
      constraint.matcher_ = constraint.grammar_->Start();
      constraint.mask_.resize(constraint.grammar_->first_mask().size());
    }
    failure = constraint.matcher_->Advance(constraint.token_, constraint.mask_);
  } catch (const std::exception& error) {  // Out of memory, most likely: only this answer ends.
    failure = Failure{error.what()};
  }
  if (!failure) return;
  const std::lock_guard lock(mutex_);
  constraint.failure_ = Failure{"the grammar cannot be followed: " + failure->message};
}

Clock::duration MaskPatience(double decode_seconds) {
  constexpr double kLeast = 0.005;
  return std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(std::max(decode_seconds, kLeast)));
}

}  // namespace llmrouter
