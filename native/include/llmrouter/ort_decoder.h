#pragma once

#include <memory>
#include <string>

#include "llmrouter/decoder.h"

namespace llmrouter {

/// Opens the ONNX Runtime library at `library` and makes the thread pool that all its sessions
/// share, `threads` wide. Only the first call of a process does so; later ones must name the same
/// library and leave the pool as it is. Returns the runtime's version. Throws kModelUnavailable.
std::string LoadOnnxRuntime(const std::string& library, int threads);

/// A decoder-only text model in ONNX form: where it is and what its configuration promises.
struct OrtModel {
  /// The .onnx file.
  std::string path;
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
