#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "llmrouter/ort_decoder.h"
#include "llmrouter/split_decoder.h"
#include "ort/binding.h"
#include "ort/contract.h"
#include "ort/kv_cache.h"
#include "ort/session.h"

namespace llmrouter::ort {

/// Runs a graph with GroupQueryAttention whose past and present share one buffer: the present
/// outputs are bound to the memory of the past inputs, in the computer's memory or a GPU's.
class OrtDecoder : public SplitDecoder {
 public:
  OrtDecoder(const OrtModel& model, int slots, int context);

  const DecoderLimits& limits() const override { return limits_; }
  /// Graphs compute the logits of every position when our own input asks for them, or always, which
  /// their first prompt shows.
  bool verifies() const override { return contract_.takes_logits_to_keep || computes_all_logits_; }
  std::size_t PositionBytes() const override { return cache_.PositionBytes(); }
  void Save(int row, int position, int length, std::byte* out) const override {
    cache_.Save(row, position, length, out);
  }
  std::size_t CacheBytes() const override { return cache_.CommittedBytes(); }

 protected:
  Result<std::span<float>> Prefill(int row, std::span<const TokenId> tokens, int position) override;
  Result<std::span<float>> Verify(int row, std::span<const TokenId> tokens, int position) override;
  Result<std::span<float>> Decode(std::span<const TokenId> tokens,
                                  std::span<const int> positions) override;
  void MoveCache(int from, int to, int length) override { cache_.Move(from, to, length); }
  void LoadCache(int row, int position, int length, const std::byte* in) override {
    cache_.Load(row, position, length, in);
  }
  void ReleaseCache(int row) override { cache_.Release(row); }

 private:
  /// The logits that a graph gave for one row, [positions, vocabulary].
  struct RowLogits {
    std::byte* data;
    int positions;
  };

  /// What is bound for some rows: their keys and values.
  Binding& BindingOf(int first_row, int rows);
  /// Computes tokens of one row. The graph gives logits of the last `keep` positions, or as it is
  /// made; they stay in row_logits_.
  Result<RowLogits> RunRow(int row, std::span<const TokenId> tokens, int position, int keep);
  /// Runs `rows` rows; input_ids_ and attention_mask_ are filled, the logits are bound.
  std::optional<Failure> Run(Binding* binding, int rows, int tokens, int total, int keep);
  void FillMask(std::span<const int> lengths, int total);
  std::size_t LogitsBytes(int positions) const;

  DecoderLimits limits_;
  Session session_;
  Contract contract_;
  KvCache cache_;
  bool computes_all_logits_ = false;

  std::string input_ids_name_;
  std::string attention_mask_name_;
  std::string logits_name_;
  std::vector<std::string> past_names_;
  std::vector<std::string> present_names_;
  /// Made when first used: bindings_of_row_[row] for prefill, bindings_of_first_[rows - 1] for
  /// decode.
  std::vector<std::unique_ptr<Binding>> bindings_of_row_;
  std::vector<std::unique_ptr<Binding>> bindings_of_first_;

  // Scratch of a step, kept between steps.
  std::vector<std::int64_t> input_ids_;
  std::vector<std::int64_t> attention_mask_;
  std::vector<int> lengths_;
  std::vector<float> logits_;
  /// The logits of a decode as the graph writes them, where these are no floats.
  std::vector<std::byte> narrow_logits_;
  ValuePtr row_logits_;
};

}  // namespace llmrouter::ort
