#pragma once

// Attention of single queries to the keys and values of their row. Each query is computed in an
// order of its own positions alone, so that its result does not depend on what is computed beside
// it or on how its prompt was cut.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/block_matmul.h"

namespace llmrouter::kernels {

/// One query head at one position.
struct Query {
  /// [head size], rotated and scaled.
  const float* query = nullptr;
  /// [head size], written.
  float* result = nullptr;
  /// Positions it attends to, from the first on; at least 1.
  int visible = 0;
};

/// Writes softmax(query x keys) x values for queries that share keys and values, [positions,
/// head_size] each; head_size is a multiple of 8. Memory beyond the positions they attend to is not
/// read. `scratch` is kept between calls.
void Attend(std::span<const Query> queries, const float* keys, const float* values, int head_size,
            std::vector<float>* scratch, Path path);

/// The same with keys and values in IEEE 754 binary16.
void Attend(std::span<const Query> queries, const std::uint16_t* keys, const std::uint16_t* values,
            int head_size, std::vector<float>* scratch, Path path);

/// The angles of one position: `half` cosines and sines.
struct Angles {
  const float* cosines = nullptr;
  const float* sines = nullptr;
  int half = 0;
  /// Whether the values that are rotated together are neighbours; otherwise they are `half` apart.
  bool interleaved = false;
};

/// Writes a head of `size` values to `target` with its first 2 x half values rotated (RoPE, Su et
/// al. 2021), all times `scale`.
void Rotate(const float* source, int size, const Angles& angles, float scale, float* target);

}  // namespace llmrouter::kernels
