#include <sys/mman.h>

#include <cstring>
#include <string>

#include "llmrouter/error.h"
#include "ort/cache_memory.h"
#include "ort/session.h"

namespace llmrouter::ort {
namespace {

class HostMemory : public CacheMemory {
 public:
  explicit HostMemory(std::size_t bytes) : bytes_(bytes) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      throw Error(ErrorCode::kModelUnavailable,
                  "cannot reserve " + std::to_string(bytes_) +
                      " bytes of address space for the key/value cache; lower slots or context");
    }
    // Huge pages would commit two megabytes for a row that uses a few kilobytes.
    madvise(memory, bytes_, MADV_NOHUGEPAGE);
    data_ = static_cast<std::byte*>(memory);
  }
  ~HostMemory() override { munmap(data_, bytes_); }

  std::byte* data() const override { return data_; }
  const OrtMemoryInfo* info() const override { return CpuMemory(); }
  bool commits_late() const override { return true; }

  void Copy(const Rows& rows, std::byte* to, std::size_t to_pitch, const std::byte* from,
            std::size_t from_pitch) const override {
    for (std::size_t row = 0; row < rows.count; ++row) {
      std::memcpy(to + row * to_pitch, from + row * from_pitch, rows.bytes);
    }
  }

  void Settle() const override {}

  void Discard(std::byte* begin, std::size_t bytes) override {
    madvise(begin, bytes, MADV_DONTNEED);
  }

 private:
  std::size_t bytes_;
  std::byte* data_;
};

}  // namespace

std::unique_ptr<CacheMemory> ReserveHostMemory(std::size_t bytes) {
  return std::make_unique<HostMemory>(bytes);
}

}  // namespace llmrouter::ort
