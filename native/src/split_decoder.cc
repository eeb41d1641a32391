#include "llmrouter/split_decoder.h"

#include <algorithm>

namespace llmrouter {
namespace {

bool IsDecoded(const Segment& segment) { return segment.tokens.size() == 1; }

}  // namespace

void SplitDecoder::Run(std::span<Segment> segments) {
  std::size_t positions = 0;
  int rows = 0;
  for (const Segment& segment : segments) {
    if (IsDecoded(segment)) rows = std::max(rows, segment.row + 1);
    positions += segment.wanted == LogitsOf::kEvery ? segment.tokens.size() : 1;
  }
  // Before anything points into it.
  kept_.reserve(positions * static_cast<std::size_t>(limits().vocabulary));
  kept_.clear();
  for (Segment& segment : segments) {
    if (!IsDecoded(segment)) RunAlone(segment);
  }
  if (rows > 0) RunTogether(segments, rows);
}

void SplitDecoder::RunAlone(Segment& segment) {
  const auto logits = segment.wanted == LogitsOf::kEvery
                          ? Verify(segment.row, segment.tokens, segment.position)
                          : Prefill(segment.row, segment.tokens, segment.position);
  if (!logits.ok()) {
    segment.failure = logits.failure();
    return;
  }
  ends_[segment.row] = segment.position + static_cast<int>(segment.tokens.size());
  if (segment.wanted == LogitsOf::kNone) return;
  const std::size_t begin = kept_.size();
  kept_.insert(kept_.end(), logits.value().begin(), logits.value().end());
  segment.logits = std::span(kept_).subspan(begin);
}

void SplitDecoder::RunTogether(std::span<Segment> segments, int rows) {
  // A row in between computes any token at its own next position: what that leaves in the cache is
  // overwritten by whatever comes there.
  tokens_.assign(static_cast<std::size_t>(rows), 0);
  positions_.assign(ends_.begin(), ends_.begin() + rows);
  for (const Segment& segment : segments) {
    if (!IsDecoded(segment)) continue;
    tokens_[segment.row] = segment.tokens[0];
    positions_[segment.row] = segment.position;
  }
  const auto logits = Decode(tokens_, positions_);
  const auto vocabulary = static_cast<std::size_t>(limits().vocabulary);
  for (Segment& segment : segments) {
    if (!IsDecoded(segment)) continue;
    if (!logits.ok()) {
      segment.failure = logits.failure();
      continue;
    }
    ends_[segment.row] = segment.position + 1;
    segment.logits =
        logits.value().subspan(static_cast<std::size_t>(segment.row) * vocabulary, vocabulary);
  }
}

void SplitDecoder::Move(int from, int to, int length) {
  MoveCache(from, to, length);
  ends_[to] = length;
}

void SplitDecoder::Load(int row, int position, int length, const std::byte* in) {
  LoadCache(row, position, length, in);
  ends_[row] = position + length;
}

void SplitDecoder::Release(int row) {
  ReleaseCache(row);
  ends_[row] = 0;
}

}  // namespace llmrouter
