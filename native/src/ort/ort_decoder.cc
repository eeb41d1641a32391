#include "ort/ort_decoder.h"

#include <algorithm>
#include <array>
#include <memory>

#include "ort/contract.h"
#include "ort/packed_decoder.h"

namespace llmrouter::ort {
namespace {

std::vector<const char*> Pointers(const std::vector<std::string>& names) {
  std::vector<const char*> pointers;
  for (const std::string& name : names) pointers.push_back(name.c_str());
  return pointers;
}

}  // namespace

OrtDecoder::OrtDecoder(const OrtModel& model, int slots, int context)
    : SplitDecoder(slots),
      limits_{slots, context, model.vocabulary},
      session_(model),
      cache_(2 * model.layers, slots, model.kv_heads, model.head_size, context),
      kv_heads_(model.kv_heads),
      head_size_(model.head_size),
      input_name_text_{model.input_ids, model.attention_mask},
      output_name_text_{model.logits},
      views_of_row_(static_cast<std::size_t>(slots)),
      views_of_first_(static_cast<std::size_t>(slots)),
      logits_(static_cast<std::size_t>(slots) * static_cast<std::size_t>(model.vocabulary)) {
  CheckContract(model, session_);
  takes_logits_to_keep_ = TakesLogitsToKeep(session_);
  for (int layer = 0; layer < model.layers; ++layer) {
    input_name_text_.push_back(LayerName(model.past_key, layer));
    input_name_text_.push_back(LayerName(model.past_value, layer));
    output_name_text_.push_back(LayerName(model.present_key, layer));
    output_name_text_.push_back(LayerName(model.present_value, layer));
  }
  input_name_text_.emplace_back(kLogitsToKeep);
  input_names_ = Pointers(input_name_text_);
  output_names_ = Pointers(output_name_text_);
}

Result<std::span<const float>> OrtDecoder::Prefill(int row, std::span<const TokenId> tokens,
                                                   int position) {
  const auto logits = RunRow(row, tokens, position, nullptr);
  if (!logits.ok()) return logits.failure();
  // Graphs differ in how many positions they compute logits for; the last is always there.
  const auto vocabulary = static_cast<std::size_t>(limits_.vocabulary);
  if (tokens.size() > 1) computes_all_logits_ = logits.value().size() == tokens.size() * vocabulary;
  std::ranges::copy(logits.value().last(vocabulary), logits_.begin());
  row_logits_.reset();
  return std::span<const float>(logits_).first(vocabulary);
}

Result<std::span<const float>> OrtDecoder::Verify(int row, std::span<const TokenId> tokens,
                                                  int position) {
  auto count = static_cast<std::int64_t>(tokens.size());
  const ValuePtr keep = WrapTensor(&count, std::array<std::int64_t, 1>{1});
  const auto logits = RunRow(row, tokens, position, takes_logits_to_keep_ ? keep.get() : nullptr);
  if (!logits.ok()) return logits.failure();
  if (logits.value().size() != tokens.size() * static_cast<std::size_t>(limits_.vocabulary)) {
    return Failure{"the model did not return the logits of every position"};
  }
  return logits;
}

Result<std::span<const float>> OrtDecoder::RunRow(int row, std::span<const TokenId> tokens,
                                                  int position, const OrtValue* logits_to_keep) {
  const int total = position + static_cast<int>(tokens.size());
  input_ids_.assign(tokens.begin(), tokens.end());
  lengths_.assign(1, total);
  FillMask(lengths_, total);
  cache_.Touch(row, total);
  // Allocated by the runtime: graphs declare one position, and memory bound for more is refused.
  OrtValue* allocated = nullptr;
  const auto failure =
      Run(row, 1, static_cast<int>(tokens.size()), total, &allocated, logits_to_keep);
  row_logits_.reset(allocated);
  if (failure) return *failure;
  const std::vector<std::int64_t> shape = ShapeOf(allocated);
  if (shape.size() != 3 || shape[0] != 1 || shape[1] < 1 || shape[2] != limits_.vocabulary) {
    return Failure{"the model returned logits of an unexpected shape"};
  }
  void* data = nullptr;
  Check(GetApi()(kGetTensorMutableData, allocated, &data));
  return std::span(static_cast<const float*>(data), static_cast<std::size_t>(shape[1] * shape[2]));
}

Result<std::span<const float>> OrtDecoder::Decode(std::span<const TokenId> tokens,
                                                  std::span<const int> positions) {
  const int rows = static_cast<int>(tokens.size());
  input_ids_.assign(tokens.begin(), tokens.end());
  lengths_.clear();
  for (int row = 0; row < rows; ++row) {
    lengths_.push_back(positions[row] + 1);
    cache_.Touch(row, positions[row] + 1);
  }
  const int total = *std::max_element(lengths_.begin(), lengths_.end());
  FillMask(lengths_, total);
  const std::array<std::int64_t, 3> shape = {rows, 1, limits_.vocabulary};
  const ValuePtr logits = WrapTensor(logits_.data(), shape);
  OrtValue* bound = logits.get();
  if (auto failure = Run(0, rows, 1, total, &bound)) return *failure;
  return std::span<const float>(logits_).first(tokens.size() *
                                               static_cast<std::size_t>(limits_.vocabulary));
}

std::optional<Failure> OrtDecoder::Run(int first_row, int rows, int tokens, int total,
                                       OrtValue** logits, const OrtValue* logits_to_keep) {
  const std::array<std::int64_t, 2> ids_shape = {rows, tokens};
  const std::array<std::int64_t, 2> mask_shape = {rows, total};
  const ValuePtr ids = WrapTensor(input_ids_.data(), ids_shape);
  const ValuePtr mask = WrapTensor(attention_mask_.data(), mask_shape);
  inputs_ = {ids.get(), mask.get()};
  outputs_ = {*logits};
  for (const ValuePtr& tensor : CacheView(first_row, rows)) {
    inputs_.push_back(tensor.get());
    outputs_.push_back(tensor.get());
  }
  if (logits_to_keep != nullptr) inputs_.push_back(logits_to_keep);
  auto failure = session_.Run(input_names_, inputs_, output_names_, outputs_);
  *logits = outputs_[0];
  return failure;
}

const OrtDecoder::View& OrtDecoder::CacheView(int first_row, int rows) {
  View& view = first_row == 0 ? views_of_first_[rows - 1] : views_of_row_[first_row];
  if (!view.empty()) return view;
  const std::array<std::int64_t, 4> shape = {rows, kv_heads_, cache_.positions(), head_size_};
  const int buffers = static_cast<int>(output_names_.size()) - 1;
  for (int buffer = 0; buffer < buffers; ++buffer) {
    view.push_back(WrapTensor(cache_.Row(buffer, first_row), shape));
  }
  return view;
}

void OrtDecoder::FillMask(std::span<const int> lengths, int total) {
  // The graph reads the lengths of the rows from the sums of the mask.
  attention_mask_.assign(lengths.size() * static_cast<std::size_t>(total), 0);
  auto row = attention_mask_.begin();
  for (const int length : lengths) {
    std::fill_n(row, length, 1);
    row += total;
  }
}

}  // namespace llmrouter::ort

namespace llmrouter {

namespace {

/// Runs one prefill and one decode, so that a graph that cannot run here fails when it is loaded
/// and not when somebody asks. Graphs without a cache shared between past and present end here.
void Rehearse(Decoder& decoder, const std::string& path) {
  const std::array<TokenId, 2> tokens = {0, 0};
  std::array<Segment, 1> segment = {{{0, tokens, 0}}};
  decoder.Run(segment);
  if (!segment[0].failure) {
    segment[0].position = 2;
    segment[0].tokens = std::span(tokens).first(1);
    decoder.Run(segment);
  }
  decoder.Release(0);
  if (!segment[0].failure) return;
  throw Error(ErrorCode::kModelUnavailable,
              path +
                  ": a trial of a few tokens fails; supported are graphs whose attention shares " +
                  "its cache between past and present (" + segment[0].failure->message + ")");
}

}  // namespace

std::unique_ptr<Decoder> LoadOrtDecoder(const OrtModel& model, int slots, int context) {
  const bool sane = slots > 0 && context > 1 && model.vocabulary > 0 && model.layers > 0 &&
                    model.kv_heads > 0 && model.head_size > 0;
  if (!sane) {
    throw Error(ErrorCode::kModelUnavailable,
                model.path + ": slots, context and the sizes of the model must be positive");
  }
  std::unique_ptr<Decoder> decoder;
  if (model.packed) {
    decoder = std::make_unique<ort::PackedDecoder>(model, slots, context);
  } else {
    decoder = std::make_unique<ort::OrtDecoder>(model, slots, context);
  }
  Rehearse(*decoder, model.path);
  return decoder;
}

}  // namespace llmrouter
