#include "ort/ort_decoder.h"

#include <algorithm>
#include <array>
#include <memory>

#include "ort/cuda_memory.h"
#include "ort/packed_decoder.h"

namespace llmrouter::ort {
namespace {

ReserveMemory MemoryFor(const OrtModel& model, const Session& session) {
  if (model.cuda_device < 0) return ReserveHostMemory;
  return [&](std::size_t bytes) {
    return std::make_unique<CudaMemory>(session.get(), model.cuda_device, FindCudaRuntime(), bytes);
  };
}

}  // namespace

OrtDecoder::OrtDecoder(const OrtModel& model, int slots, int context)
    : SplitDecoder(slots),
      limits_{slots, context, model.vocabulary},
      session_(model),
      contract_(ReadContract(model, session_)),
      cache_({2 * model.layers, slots, model.kv_heads, model.head_size, context, contract_.cache},
             MemoryFor(model, session_)),
      input_ids_name_(model.input_ids),
      attention_mask_name_(model.attention_mask),
      logits_name_(model.logits),
      bindings_of_row_(static_cast<std::size_t>(slots)),
      bindings_of_first_(static_cast<std::size_t>(slots)),
      logits_(static_cast<std::size_t>(slots) * static_cast<std::size_t>(model.vocabulary)),
      narrow_logits_(contract_.logits == Element::kFloat32 ? 0 : LogitsBytes(slots)) {
  for (int layer = 0; layer < model.layers; ++layer) {
    past_names_.push_back(LayerName(model.past_key, layer));
    past_names_.push_back(LayerName(model.past_value, layer));
    present_names_.push_back(LayerName(model.present_key, layer));
    present_names_.push_back(LayerName(model.present_value, layer));
  }
}

Result<std::span<float>> OrtDecoder::Prefill(int row, std::span<const TokenId> tokens,
                                             int position) {
  const auto run = RunRow(row, tokens, position, 1);
  if (!run.ok()) return run.failure();
  // Graphs differ in how many positions they compute logits for; the last is always there.
  const int positions = run.value().positions;
  if (tokens.size() > 1) computes_all_logits_ = positions == static_cast<int>(tokens.size());
  const auto last = std::span(logits_).first(static_cast<std::size_t>(limits_.vocabulary));
  Widen(contract_.logits, run.value().data + LogitsBytes(positions - 1), last);
  row_logits_.reset();
  return std::span<float>(last);
}

Result<std::span<float>> OrtDecoder::Verify(int row, std::span<const TokenId> tokens,
                                            int position) {
  const int count = static_cast<int>(tokens.size());
  const auto run = RunRow(row, tokens, position, count);
  if (!run.ok()) return run.failure();
  if (run.value().positions != count) {
    return Failure{"the model did not return the logits of every position"};
  }
  const std::size_t values = tokens.size() * static_cast<std::size_t>(limits_.vocabulary);
  if (contract_.logits == Element::kFloat32) {
    return std::span(reinterpret_cast<float*>(run.value().data), values);
  }
  if (logits_.size() < values) logits_.resize(values);
  Widen(contract_.logits, run.value().data, std::span(logits_).first(values));
  row_logits_.reset();
  return std::span<float>(logits_).first(values);
}

Result<OrtDecoder::RowLogits> OrtDecoder::RunRow(int row, std::span<const TokenId> tokens,
                                                 int position, int keep) {
  const int total = position + static_cast<int>(tokens.size());
  input_ids_.assign(tokens.begin(), tokens.end());
  lengths_.assign(1, total);
  FillMask(lengths_, total);
  cache_.Touch(row, total);
  Binding& binding = BindingOf(row, 1);
  // Allocated by the runtime: graphs declare one position, and memory bound for more is refused.
  if (auto failure = binding.OutputToHost(logits_name_.c_str())) return *failure;
  if (auto failure = Run(&binding, 1, static_cast<int>(tokens.size()), total, keep))
    return *failure;
  if (auto failure = binding.TakeFirstOutput(logits_name_.c_str(), &row_logits_)) return *failure;
  const std::vector<std::int64_t> shape = ShapeOf(row_logits_.get());
  if (shape.size() != 3 || shape[0] != 1 || shape[1] < 1 || shape[2] != limits_.vocabulary) {
    return Failure{"the model returned logits of an unexpected shape"};
  }
  void* data = nullptr;
  Check(GetApi()(kGetTensorMutableData, row_logits_.get(), &data));
  return RowLogits{static_cast<std::byte*>(data), static_cast<int>(shape[1])};
}

Result<std::span<float>> OrtDecoder::Decode(std::span<const TokenId> tokens,
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
  const auto logits =
      std::span(logits_).first(tokens.size() * static_cast<std::size_t>(limits_.vocabulary));
  const bool narrow = contract_.logits != Element::kFloat32;
  void* written = narrow ? static_cast<void*>(narrow_logits_.data()) : logits.data();
  const std::array<std::int64_t, 3> shape = {rows, 1, limits_.vocabulary};
  const ValuePtr bound =
      WrapMemory(CpuMemory(), written, LogitsBytes(rows), shape, TypeOf(contract_.logits));
  Binding& binding = BindingOf(0, rows);
  if (auto failure = binding.Output(logits_name_.c_str(), bound.get())) return *failure;
  if (auto failure = Run(&binding, rows, 1, total, 1)) return *failure;
  if (narrow) Widen(contract_.logits, narrow_logits_.data(), logits);
  return std::span<float>(logits);
}

std::optional<Failure> OrtDecoder::Run(Binding* binding, int rows, int tokens, int total,
                                       int keep) {
  const std::array<std::int64_t, 2> ids_shape = {rows, tokens};
  const std::array<std::int64_t, 2> mask_shape = {rows, total};
  const ValuePtr ids = WrapTensor(input_ids_.data(), ids_shape);
  const ValuePtr mask = WrapTensor(attention_mask_.data(), mask_shape);
  std::int64_t kept = keep;
  const ValuePtr to_keep = WrapTensor(&kept, std::array<std::int64_t, 1>{1});
  auto failure = binding->Input(input_ids_name_.c_str(), ids.get());
  if (!failure) failure = binding->Input(attention_mask_name_.c_str(), mask.get());
  if (!failure && contract_.takes_logits_to_keep) {
    failure = binding->Input(kLogitsToKeep, to_keep.get());
  }
  return failure ? failure : binding->Run();
}

Binding& OrtDecoder::BindingOf(int first_row, int rows) {
  auto& made = first_row == 0 ? bindings_of_first_[rows - 1] : bindings_of_row_[first_row];
  if (made) return *made;
  auto binding = std::make_unique<Binding>(session_);
  const auto require = [](const std::optional<Failure>& failure) {
    if (failure) throw Error(ErrorCode::kGenerationFailed, failure->message);
  };
  // The first output, which runs take.
  require(binding->OutputToHost(logits_name_.c_str()));
  const std::array<std::int64_t, 4> shape = {rows, cache_.kv_heads(), cache_.positions(),
                                             cache_.head_size()};
  const std::size_t bytes = cache_.RowBytes() * static_cast<std::size_t>(rows);
  for (int buffer = 0; buffer < cache_.buffers(); ++buffer) {
    const ValuePtr both = WrapMemory(cache_.memory_info(), cache_.Row(buffer, first_row), bytes,
                                     shape, TypeOf(contract_.cache));
    require(binding->Input(past_names_[buffer].c_str(), both.get()));
    require(binding->Output(present_names_[buffer].c_str(), both.get()));
  }
  made = std::move(binding);
  return *made;
}

std::size_t OrtDecoder::LogitsBytes(int positions) const {
  return static_cast<std::size_t>(positions) * static_cast<std::size_t>(limits_.vocabulary) *
         BytesOf(contract_.logits);
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
    const Clock::time_point begin = Clock::now();
    decoder.Run(segment);
    decoder.NoteTrial(std::chrono::duration<double>(Clock::now() - begin).count());
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
  if (model.packed && model.cuda_device >= 0) {
    throw Error(ErrorCode::kModelUnavailable,
                model.path + ": a packed graph computes on the processor alone");
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
