#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "llmrouter/ort_decoder.h"
#include "llmrouter/split_decoder.h"
#include "ort/kv_cache.h"
#include "ort/session.h"

namespace llmrouter::ort {

/// Runs a graph with GroupQueryAttention whose past and present share one buffer: the present
/// outputs are bound to the memory of the past inputs.
class OrtDecoder : public SplitDecoder {
 public:
  OrtDecoder(const OrtModel& model, int slots, int context);

  const DecoderLimits& limits() const override { return limits_; }
  /// Graphs compute the logits of every position when our own input asks for them, or always, which
  /// their first prompt shows.
  bool verifies() const override { return takes_logits_to_keep_ || computes_all_logits_; }
  std::size_t PositionBytes() const override { return cache_.PositionBytes(); }
  void Save(int row, int position, int length, float* out) const override {
    cache_.Save(row, position, length, out);
  }
  std::size_t CacheBytes() const override { return cache_.CommittedBytes(); }

 protected:
  Result<std::span<const float>> Prefill(int row, std::span<const TokenId> tokens,
                                         int position) override;
  Result<std::span<const float>> Verify(int row, std::span<const TokenId> tokens,
                                        int position) override;
  Result<std::span<const float>> Decode(std::span<const TokenId> tokens,
                                        std::span<const int> positions) override;
  void MoveCache(int from, int to, int length) override { cache_.Move(from, to, length); }
  void LoadCache(int row, int position, int length, const float* in) override {
    cache_.Load(row, position, length, in);
  }
  void ReleaseCache(int row) override { cache_.Release(row); }

 private:
  /// The cache tensors of some rows, in the order of the graph's names.
  using View = std::vector<ValuePtr>;

  const View& CacheView(int first_row, int rows);
  /// Computes tokens of one row and returns the logits that the graph gives, [positions,
  /// vocabulary], in row_logits_.
  Result<std::span<const float>> RunRow(int row, std::span<const TokenId> tokens, int position,
                                        const OrtValue* logits_to_keep);
  /// Runs `rows` rows from `first_row` on; input_ids_ and attention_mask_ are filled. `logits` may
  /// be null and is then allocated by the runtime; `logits_to_keep` may be, and is then 1.
  std::optional<Failure> Run(int first_row, int rows, int tokens, int total, OrtValue** logits,
                             const OrtValue* logits_to_keep = nullptr);
  void FillMask(std::span<const int> lengths, int total);

  DecoderLimits limits_;
  Session session_;
  KvCache cache_;
  int kv_heads_;
  int head_size_;
  bool takes_logits_to_keep_ = false;
  bool computes_all_logits_ = false;

  std::vector<std::string> input_name_text_;
  std::vector<std::string> output_name_text_;
  /// The last one, which need not be fed, is `logits_to_keep`.
  std::vector<const char*> input_names_;
  std::vector<const char*> output_names_;
  /// Made when first used: views_of_row_[row] for prefill, views_of_first_[rows - 1] for decode.
  std::vector<View> views_of_row_;
  std::vector<View> views_of_first_;

  // Scratch of a step, kept between steps.
  std::vector<std::int64_t> input_ids_;
  std::vector<std::int64_t> attention_mask_;
  std::vector<int> lengths_;
  std::vector<float> logits_;
  ValuePtr row_logits_;
  std::vector<const OrtValue*> inputs_;
  std::vector<OrtValue*> outputs_;
};

}  // namespace llmrouter::ort
