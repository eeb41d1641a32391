#include "ort/kv_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <numeric>
#include <string>

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

KvCache::KvCache(int buffers, int slots, int kv_heads, int head_size, int context)
    : buffers_(buffers), slots_(slots), kv_heads_(kv_heads), head_size_(head_size) {
  const std::size_t position_bytes = sizeof(float) * static_cast<std::size_t>(head_size);
  const std::size_t unit = PageBytes() / std::gcd(PageBytes(), position_bytes);
  positions_ = static_cast<int>(RoundUp(static_cast<std::size_t>(context) + 1, unit));
  bytes_ = Product({sizeof(float), static_cast<std::size_t>(kv_heads),
                    static_cast<std::size_t>(positions_), static_cast<std::size_t>(head_size),
                    static_cast<std::size_t>(buffers), static_cast<std::size_t>(slots)});
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(ErrorCode::kModelUnavailable,
                "cannot reserve " + std::to_string(bytes_) +
                    " bytes of address space for the key/value cache; lower slots or context");
  }
  // Huge pages would commit two megabytes for a row that uses a few kilobytes.
  madvise(memory, bytes_, MADV_NOHUGEPAGE);
  memory_ = static_cast<float*>(memory);
  touched_.assign(static_cast<std::size_t>(slots), 0);
}

KvCache::~KvCache() { munmap(memory_, bytes_); }

std::size_t KvCache::RowFloats() const {
  return static_cast<std::size_t>(kv_heads_) * static_cast<std::size_t>(positions_) *
         static_cast<std::size_t>(head_size_);
}

float* KvCache::Row(int buffer, int row) const {
  const auto index = static_cast<std::size_t>(buffer) * static_cast<std::size_t>(slots_) +
                     static_cast<std::size_t>(row);
  return memory_ + index * RowFloats();
}

std::size_t KvCache::CommittedBy(int length) const {
  const std::size_t head =
      sizeof(float) * static_cast<std::size_t>(length) * static_cast<std::size_t>(head_size_);
  return RoundUp(head, PageBytes()) * static_cast<std::size_t>(kv_heads_) *
         static_cast<std::size_t>(buffers_);
}

void KvCache::Touch(int row, int length) {
  if (length <= touched_[row]) return;
  committed_ += CommittedBy(length) - CommittedBy(touched_[row]);
  touched_[row] = length;
}

void KvCache::Move(int from, int to, int length) {
  const auto head = static_cast<std::size_t>(positions_) * static_cast<std::size_t>(head_size_);
  const std::size_t bytes =
      sizeof(float) * static_cast<std::size_t>(length) * static_cast<std::size_t>(head_size_);
  for (int buffer = 0; buffer < buffers_; ++buffer) {
    for (int i = 0; i < kv_heads_; ++i) {
      std::memcpy(Row(buffer, to) + i * head, Row(buffer, from) + i * head, bytes);
    }
  }
  Touch(to, length);
}

std::size_t KvCache::PositionBytes() const {
  return sizeof(float) * static_cast<std::size_t>(buffers_) * static_cast<std::size_t>(kv_heads_) *
         static_cast<std::size_t>(head_size_);
}

float* KvCache::Position(int buffer, int row, int head, int position) const {
  const auto index = static_cast<std::size_t>(head) * static_cast<std::size_t>(positions_) +
                     static_cast<std::size_t>(position);
  return Row(buffer, row) + index * static_cast<std::size_t>(head_size_);
}

void KvCache::Save(int row, int position, int length, float* out) const {
  const std::size_t floats =
      static_cast<std::size_t>(length) * static_cast<std::size_t>(head_size_);
  for (int buffer = 0; buffer < buffers_; ++buffer) {
    for (int head = 0; head < kv_heads_; ++head, out += floats) {
      std::copy_n(Position(buffer, row, head, position), floats, out);
    }
  }
}

void KvCache::Load(int row, int position, int length, const float* in) {
  const std::size_t floats =
      static_cast<std::size_t>(length) * static_cast<std::size_t>(head_size_);
  for (int buffer = 0; buffer < buffers_; ++buffer) {
    for (int head = 0; head < kv_heads_; ++head, in += floats) {
      std::copy_n(in, floats, Position(buffer, row, head, position));
    }
  }
  Touch(row, position + length);
}

void KvCache::Release(int row) {
  if (touched_[row] == 0) return;
  const std::size_t head_bytes =
      sizeof(float) * static_cast<std::size_t>(positions_) * static_cast<std::size_t>(head_size_);
  const std::size_t used = RoundUp(sizeof(float) * static_cast<std::size_t>(touched_[row]) *
                                       static_cast<std::size_t>(head_size_),
                                   PageBytes());
  for (int buffer = 0; buffer < buffers_; ++buffer) {
    auto* row_bytes = reinterpret_cast<std::byte*>(Row(buffer, row));
    for (int head = 0; head < kv_heads_; ++head) {
      madvise(row_bytes + head * head_bytes, used, MADV_DONTNEED);
    }
  }
  committed_ -= CommittedBy(touched_[row]);
  touched_[row] = 0;
}

}  // namespace llmrouter::ort
