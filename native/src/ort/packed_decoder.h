#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "llmrouter/decoder.h"
#include "llmrouter/ort_decoder.h"
#include "ort/binding.h"
#include "ort/kv_cache.h"
#include "ort/packed_step.h"
#include "ort/session.h"

namespace llmrouter::ort {

/// Runs a packed graph: the tokens of all segments stand side by side in one run, and only
/// attention knows whose they are.
class PackedDecoder : public Decoder {
 public:
  PackedDecoder(const OrtModel& model, int slots, int context);

  const DecoderLimits& limits() const override { return limits_; }
  void Run(std::span<Segment> segments) override;
  bool verifies() const override { return true; }
  bool mixes() const override { return true; }
  bool rounds_alike() const override { return rounds_alike_; }
  void Move(int from, int to, int length) override { cache_.Move(from, to, length); }
  std::size_t PositionBytes() const override { return cache_.PositionBytes(); }
  void Save(int row, int position, int length, std::byte* out) const override {
    cache_.Save(row, position, length, out);
  }
  void Load(int row, int position, int length, const std::byte* in) override {
    cache_.Load(row, position, length, in);
  }
  void Release(int row) override { cache_.Release(row); }
  std::size_t CacheBytes() const override { return cache_.CommittedBytes(); }

 private:
  /// Computes the segments in one run, their logits from those of position `first` on.
  std::optional<Failure> RunTogether(std::span<Segment> segments, std::size_t first);
  /// Describes the segments to the operators.
  void Pack(std::span<const Segment> segments);

  DecoderLimits limits_;
  KvCache cache_;
  PackedStep::Logits told_;
  PackedStep step_;
  Session session_;
  Binding binding_;
  std::string input_ids_name_;
  std::string logits_name_;
  bool rounds_alike_;

  // Scratch of a step, kept between steps.
  std::vector<std::int64_t> input_ids_;
  std::vector<float> logits_;
  std::vector<float> maxima_;
};

}  // namespace llmrouter::ort
