#include "ort/kv_cache.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "llmrouter/error.h"

namespace llmrouter::ort {
namespace {

/// A device's memory that is the computer's: committed from the beginning, and copied, as a device
/// may do it, once somebody waits for it.
class FakeDeviceMemory : public CacheMemory {
 public:
  explicit FakeDeviceMemory(std::size_t bytes) : data_(bytes) {}
  std::byte* data() const override { return const_cast<std::byte*>(data_.data()); }
  const OrtMemoryInfo* info() const override { return nullptr; }
  bool commits_late() const override { return false; }
  void Copy(const Rows& rows, std::byte* to, std::size_t to_pitch, const std::byte* from,
            std::size_t from_pitch) const override {
    begun_.emplace_back([=] {
      for (std::size_t row = 0; row < rows.count; ++row) {
        std::memcpy(to + row * to_pitch, from + row * from_pitch, rows.bytes);
      }
    });
  }
  void Settle() const override {
    for (const auto& copy : begun_) copy();
    begun_.clear();
  }
  void Discard(std::byte* /*begin*/, std::size_t /*bytes*/) override {
    FAIL() << "nothing to give";
  }

 private:
  std::vector<std::byte> data_;
  mutable std::vector<std::function<void()>> begun_;
};

std::unique_ptr<CacheMemory> ReserveFake(std::size_t bytes) {
  return std::make_unique<FakeDeviceMemory>(bytes);
}

TEST(KvCacheTest, EveryRowHasASparePositionAndStartsOnAPage) {
  for (const Element element : {Element::kFloat32, Element::kFloat16, Element::kBfloat16}) {
    for (const int context : {15, 16, 100}) {
      const KvCache cache({4, 3, 2, 64, context, element});
      EXPECT_GT(cache.positions(), context);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cache.Row(3, 2)) % 4096, 0U);
    }
  }
}

/// Marks the last byte of a position of every head, and the first of the next position.
void Mark(const KvCache& cache, int row, int position, std::size_t width) {
  for (int buffer = 0; buffer < cache.buffers(); ++buffer) {
    for (int head = 0; head < cache.kv_heads(); ++head) {
      std::byte* at = cache.Head(buffer, row, head) + static_cast<std::size_t>(position) * width;
      at[width - 1] = static_cast<std::byte>(10 * buffer + head + 1);
      at[width] = static_cast<std::byte>(99);
    }
  }
}

/// Whether a row has that mark, and nothing after it.
void ExpectMark(const KvCache& cache, int row, int position, std::size_t width) {
  for (int buffer = 0; buffer < cache.buffers(); ++buffer) {
    for (int head = 0; head < cache.kv_heads(); ++head) {
      const std::byte* at =
          cache.Head(buffer, row, head) + static_cast<std::size_t>(position) * width;
      EXPECT_EQ(at[width - 1], static_cast<std::byte>(10 * buffer + head + 1));
      EXPECT_EQ(at[width], std::byte{0});
    }
  }
}

struct Place {
  Element element;
  bool device;
};

class KvCachePlacesTest : public testing::TestWithParam<Place> {
 protected:
  KvCachePlacesTest()
      : cache_({2, 3, 2, 16, 100, GetParam().element},
               GetParam().device ? ReserveMemory(ReserveFake) : ReserveHostMemory) {}

  KvCache cache_;
  std::size_t width_ = 16 * BytesOf(GetParam().element);
};

TEST_P(KvCachePlacesTest, MovingCopiesTheUsedPartOfEveryHead) {
  Mark(cache_, 1, 9, width_);
  cache_.Move(1, 0, 10);
  ExpectMark(cache_, 0, 9, width_);
}

TEST_P(KvCachePlacesTest, WhatIsSavedCanBeLoadedIntoAnotherRow) {
  Mark(cache_, 1, 9, width_);
  std::vector<std::byte> saved(cache_.PositionBytes() * 4);
  cache_.Save(1, 6, 4, saved.data());
  cache_.Load(2, 6, 4, saved.data());
  ExpectMark(cache_, 2, 9, width_);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, KvCachePlacesTest,
                         testing::Values(Place{Element::kFloat32, false},
                                         Place{Element::kFloat16, false},
                                         Place{Element::kBfloat16, false},
                                         Place{Element::kFloat16, true}));

TEST(KvCacheTest, MemoryIsCountedAsItIsUsedAndGivenBack) {
  KvCache cache({2, 4, 3, 64, 1000});
  EXPECT_EQ(cache.CommittedBytes(), 0U);
  cache.Touch(1, 1);
  EXPECT_EQ(cache.CommittedBytes(), 2U * 3U * 4096U);
  cache.Touch(1, 16);
  EXPECT_EQ(cache.CommittedBytes(), 2U * 3U * 4096U);
  cache.Touch(1, 17);
  EXPECT_EQ(cache.CommittedBytes(), 2U * 3U * 8192U);
  *cache.Row(0, 1) = std::byte{5};
  cache.Release(1);
  EXPECT_EQ(cache.CommittedBytes(), 0U);
  EXPECT_EQ(*cache.Row(0, 1), std::byte{0}) << "the page was not given back";
}

TEST(KvCacheTest, HalfTheBytesHoldTwiceThePositionsOfAPage) {
  KvCache cache({2, 4, 3, 64, 1000, Element::kFloat16});
  cache.Touch(1, 32);
  EXPECT_EQ(cache.CommittedBytes(), 2U * 3U * 4096U);
  EXPECT_EQ(cache.PositionBytes(), 2U * 3U * 64U * 2U);
}

TEST(KvCacheTest, ADevicesMemoryIsCommittedFromTheBeginning) {
  KvCache cache({2, 4, 3, 64, 1000, Element::kFloat16}, ReserveFake);
  const std::size_t all = cache.CommittedBytes();
  EXPECT_EQ(all, cache.RowBytes() * 4 * 2);
  cache.Touch(1, 17);
  cache.Release(1);
  EXPECT_EQ(cache.CommittedBytes(), all);
}

TEST(KvCacheTest, SizesBeyondAnyMemoryAreRefused) {
  const int much = 1 << 30;
  EXPECT_THROW(KvCache({much, much, much, much, 1000}), Error);
}

}  // namespace
}  // namespace llmrouter::ort
