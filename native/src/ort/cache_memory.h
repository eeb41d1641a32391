#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "ort/ort_api.h"

namespace llmrouter::ort {

/// Bytes in rows.
struct Rows {
  std::size_t count = 0;
  /// Of each row.
  std::size_t bytes = 0;
};

/// Where keys and values lie: one stretch of the computer's or a device's memory.
class CacheMemory {
 public:
  CacheMemory() = default;
  virtual ~CacheMemory() = default;
  CacheMemory(const CacheMemory&) = delete;
  CacheMemory& operator=(const CacheMemory&) = delete;

  /// Its beginning. What it holds at first are zeros.
  virtual std::byte* data() const = 0;

  /// What ONNX Runtime calls the place.
  virtual const OrtMemoryInfo* info() const = 0;

  /// Whether memory is committed as it is written, until `Discard`; otherwise from the beginning.
  virtual bool commits_late() const = 0;

  /// Copies rows that begin `pitch` bytes apart. Either side may lie here or in the computer's
  /// memory. Done once `Settle` has returned. Throws kGenerationFailed when a device fails.
  virtual void Copy(const Rows& rows, std::byte* to, std::size_t to_pitch, const std::byte* from,
                    std::size_t from_pitch) const = 0;

  /// Waits for the copies before it, with what they throw.
  virtual void Settle() const = 0;

  /// Gives the whole pages of a stretch back. Called only where memory commits late.
  virtual void Discard(std::byte* begin, std::size_t bytes) = 0;
};

/// Reserves so many bytes. Throws kModelUnavailable when they cannot be had.
using ReserveMemory = std::function<std::unique_ptr<CacheMemory>(std::size_t bytes)>;

/// Reserves address space of the computer.
std::unique_ptr<CacheMemory> ReserveHostMemory(std::size_t bytes);

}  // namespace llmrouter::ort
