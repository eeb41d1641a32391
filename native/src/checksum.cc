#include "checksum.h"

#include <array>
#include <bit>
#include <cassert>
#include <cstring>

namespace llmrouter {
namespace {

// The primes of the specification of XXH64.
constexpr std::uint64_t kFirst = 0x9E3779B185EBCA87;
constexpr std::uint64_t kSecond = 0xC2B2AE3D27D4EB4F;
constexpr std::uint64_t kThird = 0x165667B19E3779F9;
constexpr std::uint64_t kFourth = 0x85EBCA77C2B2AE63;

/// Sums that take a word each of a stripe: none waits for another.
constexpr std::size_t kLanes = 4;
using Words = std::array<std::uint64_t, kLanes>;

std::uint64_t Round(std::uint64_t sum, std::uint64_t word) {
  return std::rotl(sum + word * kSecond, 31) * kFirst;
}

}  // namespace

std::uint64_t Checksum(std::span<const std::byte> stripes) {
  assert(!stripes.empty() && stripes.size() % sizeof(Words) == 0);
  Words sums = {kFirst + kSecond, kSecond, 0, 0 - kFirst};
  for (std::size_t at = 0; at < stripes.size(); at += sizeof(Words)) {
    Words words;
    std::memcpy(words.data(), stripes.data() + at, sizeof(Words));
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] = Round(sums[lane], words[lane]);
  }
  std::uint64_t hash = std::rotl(sums[0], 1) + std::rotl(sums[1], 7) + std::rotl(sums[2], 12) +
                       std::rotl(sums[3], 18);
  for (const std::uint64_t sum : sums) hash = (hash ^ Round(0, sum)) * kFirst + kFourth;
  hash += stripes.size();
  hash = (hash ^ (hash >> 33)) * kSecond;
  hash = (hash ^ (hash >> 29)) * kThird;
  return hash ^ (hash >> 32);
}

}  // namespace llmrouter
