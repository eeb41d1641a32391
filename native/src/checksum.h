#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace llmrouter {

/// XXH64 with seed 0 of whole stripes of 32 bytes, about as fast as memory is read: every load
/// waits for it, and no library that computes it comes with Python's packages in a form to compile
/// with. It tells damage; whoever means to deceive can meet it.
std::uint64_t Checksum(std::span<const std::byte> stripes);

}  // namespace llmrouter
