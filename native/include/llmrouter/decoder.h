#pragma once

#include <cstddef>
#include <optional>
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

/// The tokens of a segment whose logits are wanted.
enum class LogitsOf { kNone, kLast, kEvery };

/// Consecutive tokens of one row: a piece of a prompt, the token that a decoding step computes, or
/// that token and a draft of what follows.
struct Segment {
  int row = 0;
  std::span<const TokenId> tokens;
  /// Where the first of them stands in its sequence.
  int position = 0;
  LogitsOf wanted = LogitsOf::kLast;

  /// Set by a run: [wanted tokens, vocabulary], valid until the next run. Whoever draws from them
  /// may change them and put them back.
  std::span<float> logits = {};
  /// With them, from a decoder that notes it while they are in its caches: the highest of each
  /// block of logits as `BlockMaxima` has it, [wanted tokens, blocks]; empty from others.
  std::span<const float> maxima = {};
  /// Set by a run that could not compute this segment. The cache of its row is then undefined from
  /// `position` on.
  std::optional<Failure> failure = std::nullopt;
};

/// Runs a model over the key/value cache it owns. The one virtual interface to a model; used
/// from one thread at a time.
class Decoder {
 public:
  virtual ~Decoder() = default;

  virtual const DecoderLimits& limits() const = 0;

  /// Computes the segments, of which no two are of one row, and sets their results. One that fails
  /// leaves the others and the decoder as they are. What the cache holds of tokens that turn out
  /// wrong is overwritten when their positions are computed again.
  virtual void Run(std::span<Segment> segments) = 0;

  /// Whether segments of several tokens can have the logits of every one. It may become so with the
  /// first prompt computed.
  virtual bool verifies() const { return false; }

  /// Whether a run of several segments is one pass over the weights.
  virtual bool mixes() const { return false; }

  /// Whether a token's logits are the same bits whatever its segment and whoever shares the run.
  virtual bool rounds_alike() const { return false; }

  /// Seconds that a step of one token took when the decoder was tried; 0 where it was not.
  double tried_seconds() const { return tried_seconds_; }
  void NoteTrial(double seconds) { tried_seconds_ = seconds; }

  /// Copies the first `length` positions of one row's cache to another row, bit by bit; the first
  /// row keeps its own. Throws, as `Save` and `Load` do, when a device cannot copy; what the row
  /// that is written holds is undefined then.
  virtual void Move(int from, int to, int length) = 0;

  /// Bytes that the keys and values of one position take.
  virtual std::size_t PositionBytes() const = 0;

  /// Copies the keys and values of `length` positions from `position` on out of a row, in an order
  /// of the decoder's own, or back into any row. `PositionBytes` x `length` bytes.
  virtual void Save(int row, int position, int length, std::byte* out) const = 0;
  virtual void Load(int row, int position, int length, const std::byte* in) = 0;

  /// Gives the memory of a row's cache back. Throws nothing.
  virtual void Release(int row) = 0;

  /// Committed key/value memory in bytes. Callable from any thread.
  virtual std::size_t CacheBytes() const = 0;

 private:
  double tried_seconds_ = 0;
};

}  // namespace llmrouter
