#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "llmrouter/decoder.h"

namespace llmrouter {

/// A decoder whose model computes either many tokens of one row or one token of each of the first
/// rows: a run is split into such calls.
class SplitDecoder : public Decoder {
 public:
  explicit SplitDecoder(int slots) : ends_(static_cast<std::size_t>(slots)) {}

  void Run(std::span<Segment> segments) final;
  void Move(int from, int to, int length) final;
  void Load(int row, int position, int length, const std::byte* in) final;
  void Release(int row) final;

 protected:
  /// Computes `tokens` of one row at `position` and after. Returns the logits of the last one,
  /// [vocabulary], valid until the next call.
  virtual Result<std::span<float>> Prefill(int row, std::span<const TokenId> tokens,
                                           int position) = 0;

  /// As `Prefill`, but returns the logits of every token, [tokens, vocabulary]. Called only where
  /// the decoder `verifies`.
  virtual Result<std::span<float>> Verify(int row, std::span<const TokenId> tokens,
                                          int position) = 0;

  /// Computes one token for each of the rows 0..n-1, row i at positions[i]. Returns logits
  /// [n, vocabulary], valid until the next call.
  virtual Result<std::span<float>> Decode(std::span<const TokenId> tokens,
                                          std::span<const int> positions) = 0;

  virtual void MoveCache(int from, int to, int length) = 0;
  virtual void LoadCache(int row, int position, int length, const std::byte* in) = 0;
  virtual void ReleaseCache(int row) = 0;

 private:
  void RunAlone(Segment& segment);
  void RunTogether(std::span<Segment> segments, int rows);

  /// One past the last position of each row that a segment or a copy has filled.
  std::vector<int> ends_;
  /// Logits that later calls of the same run would overwrite.
  std::vector<float> kept_;
  std::vector<TokenId> tokens_;
  std::vector<int> positions_;
};

}  // namespace llmrouter
