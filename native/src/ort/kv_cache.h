#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

namespace llmrouter::ort {

/// The key/value memory of a model: one buffer [slots, kv_heads, positions, head_size] of floats
/// per layer and kind, all in one reservation of address space. Memory is committed page by page as
/// it is written and given back row by row.
class KvCache {
 public:
  /// `buffers` is two per layer. Throws kModelUnavailable when the address space cannot be had.
  KvCache(int buffers, int slots, int kv_heads, int head_size, int context);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  /// Positions per row: the context, one spare, rounded up so that every head starts on a page.
  int positions() const { return positions_; }

  int buffers() const { return buffers_; }
  int kv_heads() const { return kv_heads_; }
  int head_size() const { return head_size_; }

  /// The beginning of a row in a buffer, [kv_heads, positions, head_size].
  float* Row(int buffer, int row) const;

  /// The beginning of one head of a row, [positions, head_size].
  float* Head(int buffer, int row, int head) const { return Position(buffer, row, head, 0); }

  /// Notes that the first `length` positions of a row have been written.
  void Touch(int row, int length);

  /// Copies the first `length` positions of every head from one row to another.
  void Move(int from, int to, int length);

  /// Bytes of one position in all buffers.
  std::size_t PositionBytes() const;

  /// Copies positions out of a row, [buffers, kv_heads, length, head_size], and back into any row.
  void Save(int row, int position, int length, float* out) const;
  void Load(int row, int position, int length, const float* in);

  /// Gives a row's pages back.
  void Release(int row);

  /// Committed memory in bytes. Callable from any thread.
  std::size_t CommittedBytes() const { return committed_; }

 private:
  std::size_t RowFloats() const;
  float* Position(int buffer, int row, int head, int position) const;
  std::size_t CommittedBy(int length) const;

  int buffers_;
  int slots_;
  int kv_heads_;
  int head_size_;
  int positions_;
  std::size_t bytes_;
  float* memory_;
  /// Positions of each row that have been written since its last release.
  std::vector<int> touched_;
  std::atomic<std::size_t> committed_ = 0;
};

}  // namespace llmrouter::ort
