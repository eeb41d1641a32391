#include "checksum.h"

#include <gtest/gtest.h>

#include <vector>

namespace llmrouter {
namespace {

std::vector<std::byte> Counting(std::size_t bytes) {
  std::vector<std::byte> counting(bytes);
  for (std::size_t i = 0; i < bytes; ++i) counting[i] = static_cast<std::byte>(i);
  return counting;
}

TEST(Checksum, IsWhatOthersComputeAsXxh64) {
  EXPECT_EQ(Checksum(std::vector<std::byte>(32)), 0xf6e9be5d70632cf5U);
  EXPECT_EQ(Checksum(Counting(96)), 0x450baa11f6739216U);
  EXPECT_EQ(Checksum(Counting(4096)), 0x0f6e64be186af6a4U);
}

TEST(Checksum, TellsEveryBit) {
  std::vector<std::byte> bytes = Counting(96);
  const std::uint64_t whole = Checksum(bytes);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto flipped = static_cast<std::byte>(1 << bit % 8);
    bytes[bit / 8] ^= flipped;
    EXPECT_NE(Checksum(bytes), whole);
    bytes[bit / 8] ^= flipped;
  }
}

}  // namespace
}  // namespace llmrouter
