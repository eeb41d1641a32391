#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "llmrouter/error.h"
#include "llmrouter/request.h"

namespace llmrouter {

/// Which tokens may come next: token t is bit t % 32 of word t / 32, set where it may.
using TokenMask = std::vector<std::uint32_t>;

/// Words of a mask for so many tokens.
constexpr std::size_t MaskWords(int vocabulary) {
  return (static_cast<std::size_t>(vocabulary) + 31) / 32;
}

/// Whether no token outside of `end_tokens` may come next.
bool AllowsOnly(std::span<const std::uint32_t> mask, std::span<const TokenId> end_tokens);

/// Where one answer stands in its grammar. Used from one thread at a time.
class Matcher {
 public:
  virtual ~Matcher() = default;

  /// Takes the token that was drawn and writes which may follow, [MaskWords]; the end tokens are
  /// among them where the answer may end. After a failure it is not called again.
  virtual std::optional<Failure> Advance(TokenId token, std::span<std::uint32_t> mask) = 0;
};

/// What answers have to match. Shared by every answer that has to; callable from any thread.
class Grammar {
 public:
  virtual ~Grammar() = default;

  /// A matcher that has seen nothing yet.
  virtual std::unique_ptr<Matcher> Start() const = 0;

  /// Which tokens may come first, [MaskWords].
  virtual std::span<const std::uint32_t> first_mask() const = 0;
};

/// One answer's place in its grammar, handed to and fro between the engine's thread, which reads
/// the mask and draws, and the `MaskWorker`, which writes the next one.
class Constraint {
 public:
  explicit Constraint(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {}

  /// Which tokens may come next. Only for the engine's thread, when nothing is being computed.
  std::span<const std::uint32_t> allowed() const {
    return mask_.empty() ? grammar_->first_mask() : std::span<const std::uint32_t>(mask_);
  }

 private:
  friend class MaskWorker;

  const std::shared_ptr<const Grammar> grammar_;
  /// Made when the first token was drawn; most of its life the worker's, like the mask.
  std::unique_ptr<Matcher> matcher_;
  TokenMask mask_;
  // Guarded by the worker's mutex.
  TokenId token_ = 0;
  bool pending_ = false;
  Clock::time_point asked_;
  std::optional<Failure> failure_;
};

}  // namespace llmrouter
