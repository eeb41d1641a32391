#pragma once

#include <cstddef>
#include <vector>

#include "ort/kv_cache.h"

namespace llmrouter::ort {

/// What the operators of a packed graph have to know of the running step: whose the tokens are that
/// stand side by side. Set by the decoder before each run.
struct PackedStep {
  /// Consecutive tokens of one row.
  struct Piece {
    int row = 0;
    /// In its sequence, of the first token.
    int position = 0;
    /// Of the first token among those of the step.
    int first = 0;
    int tokens = 0;
  };

  /// Tokens first..last-1 of a piece, at one head of the cache: what a thread attends to at once.
  struct Task {
    std::size_t piece = 0;
    int head = 0;
    int first = 0;
    int last = 0;
  };

  /// Where the logits go, [kept, vocabulary], and beside them the highest of each block of
  /// llmrouter::kBlock, [kept, blocks], which whoever computes them may note.
  struct Logits {
    const float* values = nullptr;
    float* maxima = nullptr;
    bool noted = false;
  };

  KvCache* cache = nullptr;
  Logits* logits = nullptr;
  std::vector<Piece> pieces;
  /// All pieces at all heads.
  std::vector<Task> tasks;
  int tokens = 0;
  /// The tokens whose logits are wanted, in ascending order.
  std::vector<int> kept;
};

}  // namespace llmrouter::ort
