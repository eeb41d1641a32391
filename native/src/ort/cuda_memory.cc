#include "ort/cuda_memory.h"

#include <string>

#include "llmrouter/error.h"

namespace llmrouter::ort {

CudaMemory::CudaMemory(const OrtSession* session, int device, const CudaRuntime& runtime,
                       std::size_t bytes)
    : runtime_(runtime),
      device_(device),
      info_(Create<MemoryInfoPtr>(kCreateMemoryInfo, "Cuda", kDeviceAllocator, device,
                                  kMemoryDefault)),
      allocator_(Create<AllocatorPtr>(kCreateAllocator, session, info_.get())) {
  void* memory = nullptr;
  if (OrtStatus* status = GetApi()(kAllocatorAlloc, allocator_.get(), bytes, &memory)) {
    throw Error(ErrorCode::kModelUnavailable,
                "the GPU has no " + std::to_string(bytes) +
                    " bytes for the key/value cache; lower slots or context (" +
                    TakeMessage(status) + ")");
  }
  data_ = static_cast<std::byte*>(memory);
  // Attention multiplies what it masks by 0, and 0 x NaN is NaN.
  auto code = runtime_.fill(data_, 0, bytes);
  if (code == 0) code = runtime_.synchronize();
  if (code == 0) return;
  Free();
  throw Error(ErrorCode::kModelUnavailable,
              std::string("CUDA cannot clear the key/value cache: ") + runtime_.describe(code));
}

CudaMemory::~CudaMemory() { Free(); }

void CudaMemory::Free() {
  if (OrtStatus* status = GetApi()(kAllocatorFree, allocator_.get(), static_cast<void*>(data_))) {
    TakeMessage(status);
  }
}

void CudaMemory::Copy(const Rows& rows, std::byte* to, std::size_t to_pitch, const std::byte* from,
                      std::size_t from_pitch) const {
  if (rows.bytes == 0 || rows.count == 0) return;
  auto code = runtime_.set_device(device_);
  if (code == 0) {
    code = runtime_.copy_rows(to, to_pitch, from, from_pitch, rows.bytes, rows.count,
                              CudaRuntime::kAnyDirection);
  }
  Check(code);
}

void CudaMemory::Settle() const {
  // Copies within a device return before they are done.
  auto code = runtime_.set_device(device_);
  if (code == 0) code = runtime_.synchronize();
  Check(code);
}

void CudaMemory::Check(int code) const {
  if (code == 0) return;
  throw Error(ErrorCode::kGenerationFailed,
              std::string("CUDA cannot copy keys and values: ") + runtime_.describe(code));
}

}  // namespace llmrouter::ort
