#pragma once

#include <atomic>
#include <cstddef>

#include "ort/ort_api.h"

namespace llmrouter::ort {

/// Bounds what ONNX Runtime may hold for a session: tensors, initializers that are not mapped, and
/// whatever kernels lay out anew. A graph decides by itself how large it makes what it is fed, so
/// this is what keeps a stranger's graph within what its model counts for.
///
/// Counts what is allocated on a thread that has a `Scope`, wherever it is freed. Threads of the
/// pool have none: kernels take bounded scratch there, and a refusal could not be caught.
class MemoryBudget {
 public:
  /// `limit` in bytes; 0 for none.
  explicit MemoryBudget(std::size_t limit) : limit_(limit) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  std::size_t limit() const { return limit_; }
  /// Bytes held now.
  std::size_t used() const { return used_.load(std::memory_order_relaxed); }

  /// Counts so many bytes more, unless that is beyond the limit.
  bool Take(std::size_t bytes);
  void GiveBack(std::size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

  /// While it lives, what ONNX Runtime allocates on this thread counts. Scopes do not nest.
  class Scope {
   public:
    explicit Scope(MemoryBudget* budget);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

 private:
  const std::size_t limit_;
  std::atomic<std::size_t> used_ = 0;
};

/// Makes the sessions of `env` that use its allocators count towards budgets. Beyond a budget an
/// allocation throws, as ONNX Runtime's own does when there is no memory: the library makes a
/// failed status of it, where it would write to a null pointer. Throws kModelUnavailable.
void RegisterCountingAllocator(OrtEnv* env);

}  // namespace llmrouter::ort
