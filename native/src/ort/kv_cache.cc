#include "ort/kv_cache.h"

#include <unistd.h>

#include <initializer_list>
#include <numeric>
#include <utility>

#include "llmrouter/error.h"

namespace llmrouter::ort {
namespace {

std::size_t PageBytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

std::size_t RoundUp(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Sizes come from untrusted files: a product that wraps would be a small buffer for large rows.
std::size_t Product(std::initializer_list<std::size_t> factors) {
  std::size_t product = 1;
  for (const std::size_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) {
      throw Error(ErrorCode::kModelUnavailable,
                  "the key/value cache would be larger than any memory; lower slots or context");
    }
  }
  return product;
}

}  // namespace

KvCache::KvCache(const CacheShape& shape, const ReserveMemory& reserve) : shape_(shape) {
  const std::size_t unit = PageBytes() / std::gcd(PageBytes(), WidthBytes());
  positions_ = static_cast<int>(RoundUp(static_cast<std::size_t>(shape.context) + 1, unit));
  const std::size_t bytes = Product(
      {WidthBytes(), static_cast<std::size_t>(positions_), static_cast<std::size_t>(shape.kv_heads),
       static_cast<std::size_t>(shape.buffers), static_cast<std::size_t>(shape.slots)});
  memory_ = reserve(bytes);
  if (!memory_->commits_late()) committed_ = bytes;
  touched_.assign(static_cast<std::size_t>(shape.slots), 0);
}

std::size_t KvCache::WidthBytes() const {
  return BytesOf(shape_.element) * static_cast<std::size_t>(shape_.head_size);
}

std::size_t KvCache::HeadBytes() const {
  return WidthBytes() * static_cast<std::size_t>(positions_);
}

std::size_t KvCache::RowBytes() const {
  return HeadBytes() * static_cast<std::size_t>(shape_.kv_heads);
}

Rows KvCache::Heads(int length) const {
  return {static_cast<std::size_t>(shape_.kv_heads),
          WidthBytes() * static_cast<std::size_t>(length)};
}

std::byte* KvCache::Row(int buffer, int row) const {
  const auto index = static_cast<std::size_t>(buffer) * static_cast<std::size_t>(shape_.slots) +
                     static_cast<std::size_t>(row);
  return memory_->data() + index * RowBytes();
}

std::byte* KvCache::Position(int buffer, int row, int head, int position) const {
  return Row(buffer, row) + static_cast<std::size_t>(head) * HeadBytes() +
         static_cast<std::size_t>(position) * WidthBytes();
}

std::size_t KvCache::CommittedBy(int length) const {
  if (!memory_->commits_late()) return 0;
  return RoundUp(WidthBytes() * static_cast<std::size_t>(length), PageBytes()) *
         static_cast<std::size_t>(shape_.kv_heads) * static_cast<std::size_t>(shape_.buffers);
}

void KvCache::Touch(int row, int length) {
  if (length <= touched_[row]) return;
  committed_ += CommittedBy(length) - CommittedBy(touched_[row]);
  touched_[row] = length;
}

void KvCache::Move(int from, int to, int length) {
  for (int buffer = 0; buffer < shape_.buffers; ++buffer) {
    memory_->Copy(Heads(length), Row(buffer, to), HeadBytes(), Row(buffer, from), HeadBytes());
  }
  memory_->Settle();
  Touch(to, length);
}

std::size_t KvCache::PositionBytes() const {
  return WidthBytes() * static_cast<std::size_t>(shape_.buffers) *
         static_cast<std::size_t>(shape_.kv_heads);
}

void KvCache::Save(int row, int position, int length, std::byte* out) const {
  const Rows heads = Heads(length);
  for (int buffer = 0; buffer < shape_.buffers; ++buffer, out += heads.count * heads.bytes) {
    memory_->Copy(heads, out, heads.bytes, Position(buffer, row, 0, position), HeadBytes());
  }
  memory_->Settle();
}

void KvCache::Load(int row, int position, int length, const std::byte* in) {
  const Rows heads = Heads(length);
  for (int buffer = 0; buffer < shape_.buffers; ++buffer, in += heads.count * heads.bytes) {
    memory_->Copy(heads, Position(buffer, row, 0, position), HeadBytes(), in, heads.bytes);
  }
  memory_->Settle();
  Touch(row, position + length);
}

void KvCache::Release(int row) {
  const int touched = std::exchange(touched_[row], 0);
  if (touched == 0 || !memory_->commits_late()) return;
  const std::size_t used = RoundUp(WidthBytes() * static_cast<std::size_t>(touched), PageBytes());
  for (int buffer = 0; buffer < shape_.buffers; ++buffer) {
    for (int head = 0; head < shape_.kv_heads; ++head) {
      memory_->Discard(Head(buffer, row, head), used);
    }
  }
  committed_ -= CommittedBy(touched);
}

}  // namespace llmrouter::ort
