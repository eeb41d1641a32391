#pragma once

#include <cstddef>
#include <memory>

#include "ort/cache_memory.h"
#include "ort/cuda_runtime.h"

namespace llmrouter::ort {

/// Memory of a GPU from ONNX Runtime's own allocator, committed from the beginning.
class CudaMemory : public CacheMemory {
 public:
  /// `session` computes on `device` and outlives this. Throws kModelUnavailable when there is not
  /// so much memory.
  CudaMemory(const OrtSession* session, int device, const CudaRuntime& runtime, std::size_t bytes);
  ~CudaMemory() override;

  std::byte* data() const override { return data_; }
  const OrtMemoryInfo* info() const override { return info_.get(); }
  bool commits_late() const override { return false; }
  void Copy(const Rows& rows, std::byte* to, std::size_t to_pitch, const std::byte* from,
            std::size_t from_pitch) const override;
  void Settle() const override;
  void Discard(std::byte* /*begin*/, std::size_t /*bytes*/) override {}

 private:
  void Free();
  /// Throws kGenerationFailed unless it is 0.
  void Check(int code) const;

  CudaRuntime runtime_;
  int device_;
  MemoryInfoPtr info_;
  AllocatorPtr allocator_;
  std::byte* data_ = nullptr;
};

}  // namespace llmrouter::ort
