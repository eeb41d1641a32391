#include "ort/attention_op.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/half.h"
#include "llmrouter/error.h"

namespace llmrouter::ort {
namespace {

/// Tokens whose keys one thread writes sooner than another wakes, and those it takes at once.
constexpr int kWorthSharing = 32;
constexpr int kBlock = 8;

/// One of the three inputs: where a token's values begin.
struct Projection {
  const float* data = nullptr;
  std::size_t stride = 0;

  const float* Of(int token, int head, int head_size) const {
    return data + static_cast<std::size_t>(token) * stride +
           static_cast<std::size_t>(head) * static_cast<std::size_t>(head_size);
  }
};

void Require(bool fits) {
  if (!fits) throw Error(ErrorCode::kGenerationFailed, "attention meets tensors of another shape");
}

}  // namespace

class AttentionKernel {
 public:
  AttentionKernel(const AttentionOp& op, const OrtKernelInfo* info)
      : step_(*op.step),
        together_(op.inputs == 3),
        heads_(static_cast<int>(AttributeOf(info, "heads"))),
        layer_(static_cast<int>(AttributeOf(info, "layer"))),
        interleaved_(AttributeOf(info, "interleaved") != 0),
        scale_(FractionOf(info, "scale")) {
    const KvCache& cache = *step_.cache;
    if (heads_ < cache.kv_heads() || heads_ % cache.kv_heads() != 0 || layer_ < 0 ||
        2 * layer_ + 1 >= cache.buffers() || cache.head_size() % 8 != 0) {
      throw Error(ErrorCode::kModelUnavailable, "the graph's attention does not fit its cache");
    }
  }

  void Compute(OrtKernelContext* context) const {
    const Inputs inputs = Read(context);
    const int head_size = step_.cache->head_size();
    const std::array<std::int64_t, 3> shape = {1, step_.tokens, std::int64_t{heads_} * head_size};
    float* output = OutputOf(context, shape);
    thread_local std::vector<float> rotated;  // One for all layers: they run in turn.
    rotated.resize(static_cast<std::size_t>(step_.tokens) * static_cast<std::size_t>(heads_) *
                   static_cast<std::size_t>(head_size));
    Prepare(context, inputs, rotated.data());
    Share(context, step_.tasks.size(), [&, queries = rotated.data()](std::size_t index) {
      Attend(step_.tasks[index], queries, output);
    });
  }

 private:
  struct Inputs {
    Projection queries, keys, values;
    const float* cosines = nullptr;
    const float* sines = nullptr;
    int half = 0;
  };

  Inputs Read(OrtKernelContext* context) const {
    const auto head_size = static_cast<std::size_t>(step_.cache->head_size());
    const auto wide = static_cast<std::size_t>(heads_) * head_size;
    const auto narrow = static_cast<std::size_t>(step_.cache->kv_heads()) * head_size;
    Inputs inputs;
    const auto projection = [&](std::size_t index, std::size_t width) {
      const KernelInput input = InputOf(context, index);
      Require(input.shape ==
              std::vector<std::int64_t>{1, step_.tokens, static_cast<std::int64_t>(width)});
      return Projection{input.data, width};
    };
    if (together_) {
      inputs.queries = projection(0, wide + 2 * narrow);
      inputs.keys = {inputs.queries.data + wide, inputs.queries.stride};
      inputs.values = {inputs.keys.data + narrow, inputs.queries.stride};
    } else {
      inputs.queries = projection(0, wide);
      inputs.keys = projection(1, narrow);
      inputs.values = projection(2, narrow);
    }
    const KernelInput cosines = InputOf(context, together_ ? 1 : 3);
    const KernelInput sines = InputOf(context, together_ ? 2 : 4);
    Require(cosines.shape.size() == 2 && cosines.shape == sines.shape &&
            2 * cosines.shape[1] <= step_.cache->head_size());
    for (const PackedStep::Piece& piece : step_.pieces) {
      Require(piece.position + piece.tokens <= cosines.shape[0]);
    }
    inputs.cosines = cosines.data;
    inputs.sines = sines.data;
    inputs.half = static_cast<int>(cosines.shape[1]);
    return inputs;
  }

  /// Rotates the queries into `rotated` [tokens, heads, head size], the keys into the cache.
  void Prepare(const OrtKernelContext* context, const Inputs& inputs, float* rotated) const {
    const int head_size = step_.cache->head_size();
    const auto prepare = [&](const PackedStep::Piece& piece, int token) {
      const int position = piece.position + token;
      const auto angle = static_cast<std::ptrdiff_t>(position) * inputs.half;
      const kernels::Angles angles = {inputs.cosines + angle, inputs.sines + angle, inputs.half,
                                      interleaved_};
      const int at = piece.first + token;
      for (int head = 0; head < heads_; ++head) {
        kernels::Rotate(inputs.queries.Of(at, head, head_size), head_size, angles, scale_,
                        rotated + Place(at, head));
      }
      for (int head = 0; head < step_.cache->kv_heads(); ++head) {
        const float* key = inputs.keys.Of(at, head, head_size);
        const float* value = inputs.values.Of(at, head, head_size);
        const auto place = static_cast<std::ptrdiff_t>(position) * head_size;
        if (step_.cache->element() == Element::kFloat16) {
          Store(key, value, angles, Keys<std::uint16_t>(piece.row, head) + place,
                Values<std::uint16_t>(piece.row, head) + place);
        } else {
          kernels::Rotate(key, head_size, angles, 1, Keys<float>(piece.row, head) + place);
          std::copy_n(value, head_size, Values<float>(piece.row, head) + place);
        }
      }
    };
    for (const PackedStep::Piece& piece : step_.pieces) {
      if (piece.tokens < kWorthSharing) {
        for (int token = 0; token < piece.tokens; ++token) prepare(piece, token);
      } else {
        const auto blocks = static_cast<std::size_t>((piece.tokens + kBlock - 1) / kBlock);
        Share(context, blocks, [&](std::size_t block) {
          const int first = static_cast<int>(block) * kBlock;
          const int last = std::min(first + kBlock, piece.tokens);
          for (int token = first; token < last; ++token) prepare(piece, token);
        });
      }
    }
  }

  /// Writes a key, rotated, and a value to a cache of 16 bits.
  void Store(const float* key, const float* value, const kernels::Angles& angles,
             std::uint16_t* cached_key, std::uint16_t* cached_value) const {
    const auto head_size = static_cast<std::size_t>(step_.cache->head_size());
    thread_local std::vector<float> rotated;
    rotated.resize(head_size);
    kernels::Rotate(key, step_.cache->head_size(), angles, 1, rotated.data());
    kernels::NarrowFloat16(rotated, {cached_key, head_size});
    kernels::NarrowFloat16({value, head_size}, {cached_value, head_size});
  }

  /// Attention of a task's tokens, [tokens, heads, head size] in and out.
  void Attend(const PackedStep::Task& task, const float* queries, float* output) const {
    const PackedStep::Piece& piece = step_.pieces[task.piece];
    const int head_size = step_.cache->head_size();
    const int group = heads_ / step_.cache->kv_heads();
    thread_local std::vector<kernels::Query> some;
    thread_local std::vector<float> scratch;
    some.clear();
    for (int token = task.first; token < task.last; ++token) {
      for (int i = 0; i < group; ++i) {
        const std::size_t at = Place(piece.first + token, task.head * group + i);
        some.push_back({queries + at, output + at, piece.position + token + 1});
      }
    }
    const auto attend = [&](const auto* keys, const auto* values) {
      kernels::Attend(some, keys, values, head_size, &scratch, kernels::BestPath());
    };
    if (step_.cache->element() == Element::kFloat16) {
      attend(Keys<std::uint16_t>(piece.row, task.head),
             Values<std::uint16_t>(piece.row, task.head));
    } else {
      attend(Keys<float>(piece.row, task.head), Values<float>(piece.row, task.head));
    }
  }

  /// The cache of a row's head, [positions, head size].
  template <typename Number>
  Number* Keys(int row, int head) const {
    return reinterpret_cast<Number*>(step_.cache->Head(2 * layer_, row, head));
  }
  template <typename Number>
  Number* Values(int row, int head) const {
    return reinterpret_cast<Number*>(step_.cache->Head(2 * layer_ + 1, row, head));
  }

  /// Where a head of a token begins in [tokens, heads, head size].
  std::size_t Place(int token, int head) const {
    return (static_cast<std::size_t>(token) * static_cast<std::size_t>(heads_) +
            static_cast<std::size_t>(head)) *
           static_cast<std::size_t>(step_.cache->head_size());
  }

  const PackedStep& step_;
  bool together_;
  int heads_;
  int layer_;
  bool interleaved_;
  float scale_;
};

AttentionOp::AttentionOp(const PackedStep* running, bool together) : step(running) {
  Describe(together ? "PackedAttention" : "Attention", together ? 3 : 5, this);
}

}  // namespace llmrouter::ort
