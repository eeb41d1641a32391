#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "ort/cache_memory.h"
#include "ort/element.h"

namespace llmrouter::ort {

/// What a cache holds.
struct CacheShape {
  /// Two per layer.
  int buffers = 0;
  int slots = 0;
  int kv_heads = 0;
  int head_size = 0;
  int context = 0;
  Element element = Element::kFloat32;
};

/// The key/value memory of a model: one buffer [slots, kv_heads, positions, head_size] per layer
/// and kind, all in one stretch of memory. Where that commits late, it is committed page by page as
/// it is written and given back row by row.
class KvCache {
 public:
  /// Throws kModelUnavailable when the memory cannot be had.
  explicit KvCache(const CacheShape& shape, const ReserveMemory& reserve = ReserveHostMemory);

  /// Positions per row: the context, one spare, rounded up so that every head starts on a page.
  int positions() const { return positions_; }

  int buffers() const { return shape_.buffers; }
  int kv_heads() const { return shape_.kv_heads; }
  int head_size() const { return shape_.head_size; }
  Element element() const { return shape_.element; }
  const OrtMemoryInfo* memory_info() const { return memory_->info(); }

  /// Bytes of a row in a buffer.
  std::size_t RowBytes() const;

  /// The beginning of a row in a buffer, [kv_heads, positions, head_size].
  std::byte* Row(int buffer, int row) const;

  /// The beginning of one head of a row, [positions, head_size].
  std::byte* Head(int buffer, int row, int head) const { return Position(buffer, row, head, 0); }

  /// Notes that the first `length` positions of a row have been written.
  void Touch(int row, int length);

  /// Copies the first `length` positions of every head from one row to another.
  void Move(int from, int to, int length);

  /// Bytes of one position in all buffers.
  std::size_t PositionBytes() const;

  /// Copies positions out of a row, [buffers, kv_heads, length, head_size], and back into any row.
  void Save(int row, int position, int length, std::byte* out) const;
  void Load(int row, int position, int length, const std::byte* in);

  /// Gives a row's pages back.
  void Release(int row);

  /// Committed memory in bytes. Callable from any thread.
  std::size_t CommittedBytes() const { return committed_; }

 private:
  /// Bytes of a position of one head, and of all positions of one.
  std::size_t WidthBytes() const;
  std::size_t HeadBytes() const;
  /// The same positions of every head.
  Rows Heads(int length) const;
  std::byte* Position(int buffer, int row, int head, int position) const;
  std::size_t CommittedBy(int length) const;

  CacheShape shape_;
  int positions_;
  std::unique_ptr<CacheMemory> memory_;
  /// Positions of each row that have been written since its last release.
  std::vector<int> touched_;
  std::atomic<std::size_t> committed_ = 0;
};

}  // namespace llmrouter::ort
