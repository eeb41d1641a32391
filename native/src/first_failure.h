#pragma once

#include <atomic>
#include <exception>

namespace llmrouter {

/// Keeps what work done by several threads threw first, for whoever waits for all of them: nothing
/// may be thrown through a library's threads.
class FirstFailure {
 public:
  /// Does `work`; what it throws is kept, or lost where something was thrown before.
  template <typename Work>
  void Catch(const Work& work) noexcept {
    try {
      work();
    } catch (...) {
      if (!failed_.test_and_set()) failure_ = std::current_exception();
    }
  }

  /// Throws what was kept, once every thread is done.
  void Rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::atomic_flag failed_;
  std::exception_ptr failure_;
};

}  // namespace llmrouter
