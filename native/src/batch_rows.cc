// Who has a row of the batch: how sequences come, go and take their keys and values along.

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "llmrouter/batch.h"

namespace llmrouter {

template <typename Copy>
bool Batch::Copied(Sequence& sequence, Copy copy) {
  try {
    copy();
    return true;
  } catch (const std::exception& error) {  // Of a device: nobody knows what the cache holds now.
    sequence.Fail(error.what());
    return false;
  }
}

void Batch::Admit(std::unique_ptr<Sequence> sequence, std::vector<Event>* events) {
  const int row = slots_.Join();
  rows_[row] = std::move(sequence);
  Sequence& joined = *rows_[row];
  joined.Begin();
  if (joined.parked_bytes() == 0) return;
  const std::vector<std::byte> cache = joined.TakeParked();
  Copied(joined, [&] { decoder_->Load(row, 0, joined.computed(), cache.data()); });
  Retire(events);
}

std::unique_ptr<Sequence> Batch::Park(int row, std::size_t most_bytes, std::vector<Event>* events) {
  Sequence& sequence = *rows_[row];
  const std::size_t bytes =
      static_cast<std::size_t>(sequence.computed()) * decoder_->PositionBytes();
  std::vector<std::byte> cache;
  try {
    if (bytes <= most_bytes) cache.resize(bytes);
  } catch (const std::bad_alloc&) {  // Computing again costs time; failing would cost the answer.
  }
  if (cache.empty()) {
    if (decoder_->rounds_alike()) Keep(row, sequence.cached());
    sequence.Forget();
  } else if (Copied(sequence, [&] { decoder_->Save(row, 0, sequence.computed(), cache.data()); })) {
    sequence.Park(std::move(cache));
  }
  std::unique_ptr<Sequence> parked;
  if (!sequence.over()) parked = Leave(row);
  Retire(events);
  return parked;
}

void Batch::Expire(Clock::time_point now, std::vector<Event>* events) {
  for (int row = 0; row < running(); ++row) {
    const auto deadline = rows_[row]->request().deadline;
    if (deadline && *deadline <= now) {
      rows_[row]->Fail("its deadline passed while it ran", ErrorCode::kDeadlineExceeded);
    }
  }
  Retire(events);
}

void Batch::Cancel(RequestId id, std::vector<Event>* events) {
  for (int row = 0; row < running(); ++row) {
    if (rows_[row]->id() == id) rows_[row]->Cancel();
  }
  Retire(events);
}

void Batch::Fail(RequestId id, const std::string& message, ErrorCode code,
                 std::vector<Event>* events) {
  for (int row = 0; row < running(); ++row) {
    if (rows_[row]->id() == id) rows_[row]->Fail(message, code);
  }
  Retire(events);
}

void Batch::FailAll(const std::string& message, std::vector<Event>* events) {
  for (int row = 0; row < running(); ++row) rows_[row]->Fail(message);
  Retire(events);
}

void Batch::ReusePrefixes() {
  for (int row = 0; row < running(); ++row) {
    Sequence& sequence = *rows_[row];
    if (sequence.computed() > 0) continue;
    const auto blocks = prefix_.Match(sequence.request().scope, sequence.prefilled());
    if (blocks.empty()) continue;
    int position = 0;
    for (const std::byte* block : blocks) {
      const auto load = [&] { decoder_->Load(row, position, PrefixCache::kBlock, block); };
      if (!Copied(sequence, load)) break;
      position += PrefixCache::kBlock;
    }
    if (sequence.over()) continue;
    sequence.CommitReused(position);
    reused_tokens_ += position;
  }
}

void Batch::Keep(int row, std::span<const TokenId> tokens) {
  const auto save = [&](int position, std::byte* out) {
    decoder_->Save(row, position, PrefixCache::kBlock, out);
  };
  try {
    prefix_.Insert(rows_[row]->request().scope, tokens, save);
  } catch (const std::exception&) {  // What could not be kept is computed again.
  }
}

void Batch::BeginAnswers(const Segment& segment, std::vector<Event>* events) {
  const int row = segment.row;
  Sequence& first = *rows_[row];
  while (first.promised() > 0) {
    auto fork = first.Fork();
    const int joined = slots_.Join();
    rows_[joined] = std::move(fork);
    const auto copy = [&] { decoder_->Move(row, joined, first.computed()); };
    if (Copied(*rows_[joined], copy)) SampleInto(*rows_[joined], segment, 0, events);
  }
  SampleInto(first, segment, 0, events);
}

void Batch::Retire(std::vector<Event>* events) {
  // From the last row down, so that what moves into a hole has been looked at.
  for (int row = running() - 1; row >= 0;) {
    Sequence& sequence = *rows_[row];
    if (!sequence.over()) {
      --row;
      continue;
    }
    // Decoded keys and values are those that a prompt with the same tokens would compute.
    if (decoder_->rounds_alike() && !sequence.failed()) Keep(row, sequence.cached());
    if (sequence.finished()) answer_tokens_.Add(sequence.generated());
    sequence.TakeLastEvent(events);
    Leave(row);
    // The same row again: who moved there may have been lost on the way.
    row = std::min(row, running() - 1);
  }
}

std::unique_ptr<Sequence> Batch::Leave(int row) {
  std::unique_ptr<Sequence> left = std::move(rows_[row]);
  const auto move = slots_.Leave(row);
  const int emptied = slots_.used();
  if (move) {
    rows_[move->to] = std::move(rows_[move->from]);
    Sequence& moved = *rows_[move->to];
    Copied(moved, [&] { decoder_->Move(move->from, move->to, moved.computed()); });
  }
  rows_[emptied].reset();
  decoder_->Release(emptied);
  return left;
}

}  // namespace llmrouter
