#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace llmrouter {

/// Lets another thread end a run, or several: a graph may compute for ever.
class RunEnding {
 public:
  /// Throws kModelUnavailable before `LoadOnnxRuntime`.
  RunEnding();
  ~RunEnding();
  RunEnding(const RunEnding&) = delete;
  RunEnding& operator=(const RunEnding&) = delete;

  /// Ends what runs with it soon, and whatever is begun with it later. On any thread.
  void End();

 private:
  friend class OrtEncoder;
  struct State;
  std::unique_ptr<State> state_;
};

/// A graph from rows of whole numbers to floats, on ONNX Runtime's shared thread pool. Safe to use
/// on several threads.
class OrtEncoder {
 public:
  /// A tensor that the graph takes or gives; dimensions it leaves open are -1.
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
  };
  /// int64 [rows, columns].
  struct Feed {
    std::string name;
    const std::int64_t* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
  };

  /// Loads the file at `path`. What ONNX Runtime may hold for it is bounded by `memory_limit`, in
  /// bytes, 0 for no limit; see OrtModel. Throws kModelUnavailable.
  OrtEncoder(const std::string& path, std::size_t memory_limit);
  ~OrtEncoder();
  OrtEncoder(const OrtEncoder&) = delete;
  OrtEncoder& operator=(const OrtEncoder&) = delete;

  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

  /// Computes the output of that name, [rows, columns, width] of the first feed's rows and columns.
  /// Throws kGenerationFailed when the graph cannot, gives another shape or no floats, is beyond
  /// its memory or is ended.
  std::vector<float> Run(const std::string& output, std::int64_t width, std::span<const Feed> feeds,
                         const RunEnding& ending);

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
};

}  // namespace llmrouter
