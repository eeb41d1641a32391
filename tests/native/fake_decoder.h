#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "llmrouter/split_decoder.h"

namespace llmrouter {

/// A decoder without a model. The cache of a row is the list of tokens it was given, so that a test
/// sees what was computed where; the next token follows from the whole content of the row.
class FakeDecoder : public SplitDecoder {
 public:
  struct Call {
    bool prefill;
    /// Rows of the call: one for a prefill, the number of rows for a decode.
    int row_or_rows;
    int tokens;
    int position;
    bool verify = false;
  };

  enum class CopyOf { kMove, kSave, kLoad };

  explicit FakeDecoder(DecoderLimits limits)
      : SplitDecoder(limits.slots),
        limits_(limits),
        cache_(static_cast<std::size_t>(limits.slots)),
        logits_(static_cast<std::size_t>(limits.slots * limits.vocabulary)) {}

  const DecoderLimits& limits() const override { return limits_; }

  Result<std::span<float>> Prefill(int row, std::span<const TokenId> tokens,
                                   int position) override {
    calls.push_back({true, row, static_cast<int>(tokens.size()), position});
    if (fail_prefill && fail_prefill(tokens)) return Failure{"prefill broke"};
    for (std::size_t i = 0; i < tokens.size(); ++i) Write(row, position + i, tokens[i]);
    Score(row, position + tokens.size(), logits_.data());
    return std::span<float>(logits_).first(limits_.vocabulary);
  }

  bool rounds_alike() const override { return alike; }
  bool verifies() const override { return can_verify; }
  Result<std::span<float>> Verify(int row, std::span<const TokenId> tokens, int position) override {
    calls.push_back({true, row, static_cast<int>(tokens.size()), position, true});
    if (fail_verify) return Failure{"verify broke"};
    verified_.assign(tokens.size() * static_cast<std::size_t>(limits_.vocabulary), 0);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      Write(row, position + i, tokens[i]);
      Score(row, position + i + 1, verified_.data() + i * limits_.vocabulary);
    }
    return std::span<float>(verified_);
  }

  Result<std::span<float>> Decode(std::span<const TokenId> tokens,
                                  std::span<const int> positions) override {
    const int rows = static_cast<int>(tokens.size());
    calls.push_back({false, rows, rows, 0});
    if (fail_next_decode) {
      fail_next_decode = false;
      return Failure{"decode broke"};
    }
    for (int row = 0; row < rows; ++row) {
      Write(row, positions[row], tokens[row]);
      Score(row, positions[row] + 1, logits_.data() + row * limits_.vocabulary);
    }
    return std::span<float>(logits_).first(tokens.size() * limits_.vocabulary);
  }

  void MoveCache(int from, int to, int length) override {
    Copy(CopyOf::kMove);
    moves.emplace_back(from, to);
    cache_[to].assign(cache_[from].begin(), cache_[from].begin() + length);
  }
  std::size_t PositionBytes() const override { return sizeof(TokenId); }
  void Save(int row, int position, int length, std::byte* out) const override {
    Copy(CopyOf::kSave);
    std::memcpy(out, &cache_.at(row).at(static_cast<std::size_t>(position)),
                static_cast<std::size_t>(length) * sizeof(TokenId));
  }
  void LoadCache(int row, int position, int length, const std::byte* in) override {
    Copy(CopyOf::kLoad);
    for (int i = 0; i < length; ++i, in += sizeof(TokenId)) {
      TokenId token = 0;
      std::memcpy(&token, in, sizeof(token));
      Write(row, position + i, token);
    }
  }
  void ReleaseCache(int row) override {
    released.push_back(row);
    cache_[row].clear();
  }
  std::size_t CacheBytes() const override { return 0; }

  /// The token that follows `history`, unless a test puts another rule here.
  std::function<TokenId(const std::vector<TokenId>& history)> next =
      [this](const std::vector<TokenId>& history) {
        std::uint32_t hash = 2166136261U;
        for (const TokenId token : history) {
          hash = (hash ^ static_cast<std::uint32_t>(token)) * 16777619U;
        }
        return static_cast<TokenId>(hash % static_cast<std::uint32_t>(limits_.vocabulary));
      };
  /// Whether the logits after this history are NaN.
  std::function<bool(const std::vector<TokenId>& history)> poison;
  /// Whether another token is almost as likely after this history.
  std::function<bool(const std::vector<TokenId>& history)> close_call;
  std::function<bool(std::span<const TokenId> tokens)> fail_prefill;
  bool fail_next_decode = false;
  bool can_verify = true;
  bool fail_verify = false;
  bool alike = false;
  /// Whether a copy of a row's cache breaks, as a device's may.
  std::function<bool(CopyOf copy)> fail_copy;

  std::vector<Call> calls;
  std::vector<std::pair<int, int>> moves;
  std::vector<int> released;
  int highest_position = 0;

 private:
  void Copy(CopyOf copy) const {
    if (fail_copy && fail_copy(copy)) throw std::runtime_error("the device cannot copy");
  }

  void Write(int row, std::size_t position, TokenId token) {
    std::vector<TokenId>& cache = cache_.at(row);
    highest_position = std::max(highest_position, static_cast<int>(position));
    if (cache.size() < position) throw std::logic_error("a position was skipped");
    cache.resize(std::max(cache.size(), position + 1));
    cache[position] = token;
  }

  void Score(int row, std::size_t length, float* out) {
    const std::vector<TokenId> history(cache_[row].begin(), cache_[row].begin() + length);
    std::fill_n(out, limits_.vocabulary, 0.0F);
    out[next(history)] = 4.0F;
    if (close_call && close_call(history)) out[(next(history) + 1) % limits_.vocabulary] = 3.9F;
    if (poison && poison(history)) out[limits_.vocabulary / 2] = std::nanf("");
  }

  DecoderLimits limits_;
  std::vector<std::vector<TokenId>> cache_;
  std::vector<float> logits_;
  std::vector<float> verified_;
};

}  // namespace llmrouter
