#include "ort/attention_op.h"

#include <algorithm>
#include <array>

#include "kernels/attention.h"
#include "llmrouter/error.h"

namespace llmrouter::ort {
namespace {

/// Tokens of a piece that one task computes: their queries share the keys while these are in the
/// innermost cache.
constexpr int kTaskTokens = 8;

/// Tokens whose keys one thread writes sooner than another wakes.
constexpr int kWorthSharing = 32;

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
    const std::vector<Task>& tasks = Tasks();
    const auto group = static_cast<std::size_t>(heads_ / step_.cache->kv_heads());
    const auto attend = [&, queries = rotated.data()](std::size_t index) {
      const Task& task = tasks[index];
      std::array<kernels::Query, 3 * kTaskTokens> some;
      std::size_t count = 0;
      thread_local std::vector<float> scratch;
      const float* keys = step_.cache->Head(2 * layer_, task.piece->row, task.head);
      const float* values = step_.cache->Head(2 * layer_ + 1, task.piece->row, task.head);
      const auto flush = [&] {
        kernels::Attend(std::span(some).first(count), keys, values, head_size, &scratch,
                        kernels::BestPath());
        count = 0;
      };
      for (int token = task.first; token < task.last; ++token) {
        for (std::size_t i = 0; i < group; ++i) {
          const std::size_t at = ((static_cast<std::size_t>(task.piece->first + token) *
                                   static_cast<std::size_t>(heads_)) +
                                  static_cast<std::size_t>(task.head) * group + i) *
                                 static_cast<std::size_t>(head_size);
          some[count++] = {queries + at, output + at, task.piece->position + token + 1};
          if (count == some.size()) flush();
        }
      }
      flush();
    };
    Share(context, tasks.size(), attend);
  }

 private:
  struct Inputs {
    Projection queries, keys, values;
    const float* cosines = nullptr;
    const float* sines = nullptr;
    int half = 0;
  };

  /// Some tokens of a piece, at one head of the cache.
  struct Task {
    const PackedStep::Piece* piece = nullptr;
    int head = 0;
    int first = 0;
    int last = 0;
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
                        rotated + (static_cast<std::size_t>(at) * static_cast<std::size_t>(heads_) +
                                   static_cast<std::size_t>(head)) *
                                      static_cast<std::size_t>(head_size));
      }
      const auto place = static_cast<std::ptrdiff_t>(position) * head_size;
      for (int head = 0; head < step_.cache->kv_heads(); ++head) {
        kernels::Rotate(inputs.keys.Of(at, head, head_size), head_size, angles, 1,
                        step_.cache->Head(2 * layer_, piece.row, head) + place);
        std::copy_n(inputs.values.Of(at, head, head_size), head_size,
                    step_.cache->Head(2 * layer_ + 1, piece.row, head) + place);
      }
    };
    for (const PackedStep::Piece& piece : step_.pieces) {
      if (piece.tokens < kWorthSharing) {
        for (int token = 0; token < piece.tokens; ++token) prepare(piece, token);
      } else {
        const auto blocks =
            static_cast<std::size_t>((piece.tokens + kTaskTokens - 1) / kTaskTokens);
        Share(context, blocks, [&](std::size_t block) {
          const int first = static_cast<int>(block) * kTaskTokens;
          const int last = std::min(first + kTaskTokens, piece.tokens);
          for (int token = first; token < last; ++token) prepare(piece, token);
        });
      }
    }
  }

  const std::vector<Task>& Tasks() const {
    thread_local std::vector<Task> tasks;
    tasks.clear();
    for (const PackedStep::Piece& piece : step_.pieces) {
      for (int first = 0; first < piece.tokens; first += kTaskTokens) {
        for (int head = 0; head < step_.cache->kv_heads(); ++head) {
          tasks.push_back({&piece, head, first, std::min(first + kTaskTokens, piece.tokens)});
        }
      }
    }
    return tasks;
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
