#include "ort/memory_budget.h"

#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#include "ort/session.h"

namespace llmrouter::ort {
namespace {

/// What vector instructions want, and what ONNX Runtime's own allocator gives.
constexpr std::size_t kAlignment = 64;
/// Bytes behind a block that kernels may read, though not use (MLAS_SYMM_QGEMM_BUF_OVERRUN is 15).
constexpr std::size_t kOverrun = 64;

thread_local MemoryBudget* current = nullptr;

/// Stands before each block.
struct alignas(kAlignment) Header {
  MemoryBudget* budget;
  std::size_t bytes;
};
static_assert(sizeof(Header) == kAlignment);

class OverBudget : public std::bad_alloc {
 public:
  OverBudget(std::size_t wanted, const MemoryBudget& budget)
      : message_("the graph wants " + std::to_string(wanted) + " bytes more than the " +
                 std::to_string(budget.used()) + " it holds; the model may hold " +
                 std::to_string(budget.limit()) + " (raise inference.workspace_mib if you trust " +
                 "it)") {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

void* Allocate(OrtAllocator* /*self*/, std::size_t wanted) {
  if (wanted == 0) return nullptr;
  if (wanted > PTRDIFF_MAX) throw std::bad_alloc();
  const std::size_t bytes = sizeof(Header) + wanted + kOverrun;
  MemoryBudget* const budget = current;
  if (budget != nullptr && !budget->Take(bytes)) throw OverBudget(bytes, *budget);
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes) != 0) {
    if (budget != nullptr) budget->GiveBack(bytes);
    throw std::bad_alloc();
  }
  return new (block) Header{budget, bytes} + 1;
}

void Free(OrtAllocator* /*self*/, void* data) {
  if (data == nullptr) return;
  Header* const header = static_cast<Header*>(data) - 1;
  if (header->budget != nullptr) header->budget->GiveBack(header->bytes);
  std::free(header);
}

const OrtMemoryInfo* Info(const OrtAllocator* /*self*/) { return CpuMemory(); }

}  // namespace

bool MemoryBudget::Take(std::size_t bytes) {
  const std::size_t used = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (limit_ != 0 && used > limit_) {
    GiveBack(bytes);
    return false;
  }
  return true;
}

MemoryBudget::Scope::Scope(MemoryBudget* budget) { current = budget; }

MemoryBudget::Scope::~Scope() { current = nullptr; }

void RegisterCountingAllocator(OrtEnv* env) {
  static OrtAllocator allocator{kAllocatorVersion, Allocate, Free, Info};
  Check(GetApi()(kRegisterAllocator, env, &allocator));
}

}  // namespace llmrouter::ort
