#pragma once

#include <cstddef>
#include <span>

#include "llmrouter/error.h"
#include "llmrouter/request.h"

namespace llmrouter {

/// What a decoder can hold.
struct DecoderLimits {
  /// Rows of the key/value cache: sequences that can run at once.
  int slots = 0;
  /// Tokens of one sequence. A row has at least one spare position beyond them.
  int context = 0;
  /// Logits per position.
  int vocabulary = 0;
};

/// Runs a model over the key/value cache it owns. The one virtual interface to a model; used
/// from one thread at a time. A failed call leaves the decoder usable and the cache of the rows it
/// was given undefined from the given positions on.
class Decoder {
 public:
  virtual ~Decoder() = default;

  virtual const DecoderLimits& limits() const = 0;

  /// Computes `tokens` of one sequence at `position` and after. Returns the logits of the last one,
  /// [vocabulary], valid until the next Prefill or Decode.
  virtual Result<std::span<const float>> Prefill(int row, std::span<const TokenId> tokens,
                                                 int position) = 0;

  /// Computes one token for each of the rows 0..n-1, row i at positions[i]. Returns logits
  /// [n, vocabulary], valid until the next Prefill or Decode.
  virtual Result<std::span<const float>> Decode(std::span<const TokenId> tokens,
                                                std::span<const int> positions) = 0;

  /// Whether `Verify` can be called. It may become so with the first prompt computed.
  virtual bool verifies() const { return false; }

  /// Computes `tokens` of one sequence at `position` and after, as `Prefill` does, and returns the
  /// logits of every one of them, [tokens, vocabulary], valid until the next call. What the cache
  /// holds of tokens that turn out wrong is overwritten when their positions are computed again.
  virtual Result<std::span<const float>> Verify(int /*row*/, std::span<const TokenId> /*tokens*/,
                                                int /*position*/) {
    return Failure{"the decoder computes the logits of one position only"};
  }

  /// Copies the first `length` positions of one row's cache to another row, bit by bit; the first
  /// row keeps its own.
  virtual void Move(int from, int to, int length) = 0;

  /// Bytes that the keys and values of one position take.
  virtual std::size_t PositionBytes() const = 0;

  /// Copies the keys and values of `length` positions from `position` on out of a row, in an order
  /// of the decoder's own, or back into any row. `PositionBytes` x `length` bytes.
  virtual void Save(int row, int position, int length, float* out) const = 0;
  virtual void Load(int row, int position, int length, const float* in) = 0;

  /// Gives the memory of a row's cache back.
  virtual void Release(int row) = 0;

  /// Committed key/value memory in bytes. Callable from any thread.
  virtual std::size_t CacheBytes() const = 0;
};

}  // namespace llmrouter
