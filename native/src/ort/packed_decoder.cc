#include "ort/packed_decoder.h"

#include <algorithm>
#include <array>

#include "ort/contract.h"
#include "vector_math.h"

namespace llmrouter::ort {
namespace {

/// Positions of a segment whose logits a run computes. Somebody's are always wanted, since graphs
/// need not know what nothing is: those of the last token cost least.
std::size_t Kept(const Segment& segment) {
  return segment.wanted == LogitsOf::kEvery ? segment.tokens.size() : 1;
}

/// Tokens of a task: their queries share the keys while these are in the innermost cache.
constexpr int kTaskTokens = 8;

}  // namespace

PackedDecoder::PackedDecoder(const OrtModel& model, int slots, int context)
    : limits_{slots, context, model.vocabulary},
      cache_({2 * model.layers, slots, model.kv_heads, model.head_size, context,
              model.half_cache ? Element::kFloat16 : Element::kFloat32}),
      step_{&cache_, &told_, {}, {}, 0, {}},
      session_(model, &step_),
      binding_(session_),
      input_ids_name_(model.input_ids),
      logits_name_(model.logits),
      rounds_alike_(model.rounds_alike) {
  CheckPackedContract(model, session_);
}

void PackedDecoder::Run(std::span<Segment> segments) {
  if (segments.empty()) return;
  const auto vocabulary = static_cast<std::size_t>(limits_.vocabulary);
  std::size_t kept = 0;
  for (const Segment& segment : segments) kept += Kept(segment);
  if (maxima_.size() < kept * Blocks(vocabulary)) {
    logits_.resize(kept * vocabulary);
    maxima_.resize(kept * Blocks(vocabulary));  // The last to grow, so that it tells of both.
  }
  const auto failure = RunTogether(segments, 0);
  if (!failure) return;
  if (segments.size() == 1) {
    segments[0].failure = failure;
    return;
  }
  // Whoever broke the run fails alone.
  std::size_t first = 0;
  for (Segment& segment : segments) {
    segment.failure = RunTogether(std::span(&segment, 1), first);
    first += Kept(segment);
  }
}

std::optional<Failure> PackedDecoder::RunTogether(std::span<Segment> segments, std::size_t first) {
  Pack(segments);
  const auto vocabulary = static_cast<std::size_t>(limits_.vocabulary);
  float* out = logits_.data() + first * vocabulary;
  float* maxima = maxima_.data() + first * Blocks(vocabulary);
  told_ = {out, maxima};
  const std::array<std::int64_t, 2> ids_shape = {1, step_.tokens};
  const std::array<std::int64_t, 3> logits_shape = {1, static_cast<std::int64_t>(step_.kept.size()),
                                                    limits_.vocabulary};
  const ValuePtr ids = WrapTensor(input_ids_.data(), ids_shape);
  const ValuePtr logits = WrapTensor(out, logits_shape);
  if (auto failure = binding_.Input(input_ids_name_.c_str(), ids.get())) return failure;
  if (auto failure = binding_.Output(logits_name_.c_str(), logits.get())) return failure;
  if (auto failure = binding_.Run()) return failure;
  for (Segment& segment : segments) {
    const std::size_t kept = Kept(segment);
    segment.logits = {out, kept * vocabulary};
    segment.maxima = {maxima, told_.noted ? kept * Blocks(vocabulary) : 0};
    out += kept * vocabulary;
    maxima += kept * Blocks(vocabulary);
  }
  return std::nullopt;
}

void PackedDecoder::Pack(std::span<const Segment> segments) {
  input_ids_.clear();
  step_.pieces.clear();
  step_.tasks.clear();
  step_.kept.clear();
  for (const Segment& segment : segments) {
    const int first = static_cast<int>(input_ids_.size());
    const int tokens = static_cast<int>(segment.tokens.size());
    input_ids_.insert(input_ids_.end(), segment.tokens.begin(), segment.tokens.end());
    for (int begin = 0; begin < tokens; begin += kTaskTokens) {
      for (int head = 0; head < cache_.kv_heads(); ++head) {
        step_.tasks.push_back(
            {step_.pieces.size(), head, begin, std::min(begin + kTaskTokens, tokens)});
      }
    }
    step_.pieces.push_back({segment.row, segment.position, first, tokens});
    const int end = first + tokens;
    for (int token = end - static_cast<int>(Kept(segment)); token < end; ++token) {
      step_.kept.push_back(token);
    }
    cache_.Touch(segment.row, segment.position + tokens);
  }
  step_.tokens = static_cast<int>(input_ids_.size());
}

}  // namespace llmrouter::ort
