#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "llmrouter/decoder.h"

namespace llmrouter {

/// Opens the ONNX Runtime library at `library` and makes the thread pool that all its sessions
/// share, `threads` wide. Only the first call of a process does so; later ones must name the same
/// library and leave the pool as it is. Returns the runtime's version. Throws kModelUnavailable.
std::string LoadOnnxRuntime(const std::string& library, int threads);

/// What the opened library can compute on, by ONNX Runtime's names, such as CUDAExecutionProvider.
/// Whether the machine can too shows when a model is loaded. Throws kModelUnavailable.
std::vector<std::string> AvailableProviders();

/// A matrix [depth, columns] quantised in blocks of 32 along its depth, as the operator MatMulNBits
/// has it, in a file of weights. Offsets are bytes.
struct NativeMatrix {
  std::string file;
  int columns = 0;
  int depth = 0;
  /// 4 or 8.
  int bits = 8;
  std::int64_t data_offset = 0;
  std::int64_t scales_offset = 0;
  /// -1 for zero points in the middle of the range.
  std::int64_t zero_points_offset = -1;
};

namespace ort {
class PackedFile;
}

/// The matrices of a model as they are computed with, in a file that every process maps.
struct SharedWeights {
  /// Never null.
  std::shared_ptr<const ort::PackedFile> file;
};

/// Maps the file at `path` and compares its checksum: all of it is read. Nothing where it is
/// missing, of other matrices or damaged. Throws kModelUnavailable for matrices that their files do
/// not hold.
std::optional<SharedWeights> FindSharedWeights(const std::string& path,
                                               const std::vector<NativeMatrix>& matrices);

/// Writes the file at `path` and maps it, or the whole one that somebody else wrote meanwhile; what
/// else has this name goes, a folder too. Whoever comes later computes with what stands there: the
/// files of `matrices` have to be known to be right, and `path` to tell what they are. Nothing
/// where the disk refuses. Throws as `FindSharedWeights`.
std::optional<SharedWeights> WriteSharedWeights(const std::string& path,
                                                const std::vector<NativeMatrix>& matrices);

/// A decoder-only text model in ONNX form: where it is and what its configuration promises.
struct OrtModel {
  /// The .onnx file.
  std::string path;
  /// The graph to run in place of that file's, serialised; its weights are looked for in the file's
  /// folder. Empty runs the file.
  std::string graph;
  /// What the nodes `llmrouter.MatMulNBits` of `graph` multiply with, by their attribute `matrix`.
  std::vector<NativeMatrix> matrices;
  /// Where `matrices` lie as they are computed with; without it they are read into memory of this
  /// process.
  std::optional<SharedWeights> shared_weights;
  /// Whether `graph` takes the tokens of many rows side by side, and attention finds out by itself
  /// whose they are; otherwise it is as the file's.
  bool packed = false;
  /// Whether each token of a packed run is rounded as if it were alone.
  bool rounds_alike = false;
  /// Whether a packed run keeps keys and values as float16 rather than float32. Otherwise the graph
  /// decides.
  bool half_cache = false;
  /// The GPU that computes, counted from 0; -1 for the processor. On a GPU the file's graph runs as
  /// it is.
  int cuda_device = -1;
  /// Bytes that ONNX Runtime may hold for the model: weights that it does not map, what it lays out
  /// anew of them, and what a run computes. Beyond it loading, or the run, fails; 0 for no limit.
  std::size_t memory_limit = 0;
  int vocabulary = 0;
  int layers = 0;
  int kv_heads = 0;
  int head_size = 0;
  std::string input_ids = "input_ids";
  std::string attention_mask = "attention_mask";
  std::string logits = "logits";
  /// Names of the cache tensors; %d is the layer.
  std::string past_key = "past_key_values.%d.key";
  std::string past_value = "past_key_values.%d.value";
  std::string present_key = "present.%d.key";
  std::string present_value = "present.%d.value";
};

/// Loads a model with a key/value cache of `slots` rows of `context` tokens. Memory of the cache is
/// reserved here and committed as it is used. Throws kModelUnavailable, naming what the file lacks.
std::unique_ptr<Decoder> LoadOrtDecoder(const OrtModel& model, int slots, int context);

}  // namespace llmrouter
