#include "kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention_paths.h"
#include "kernels/half.h"

namespace llmrouter::kernels {

namespace {

/// Turns the pairs whose first values lie `kStride` apart, and whose second ones `apart` from them.
template <int kStride>
void RotatePairs(const float* source, const Angles& angles, int apart, float scale, float* target) {
  for (int i = 0; i < angles.half; ++i) {
    const float first = source[i * kStride];
    const float second = source[i * kStride + apart];
    target[i * kStride] = (first * angles.cosines[i] - second * angles.sines[i]) * scale;
    target[i * kStride + apart] = (second * angles.cosines[i] + first * angles.sines[i]) * scale;
  }
}

}  // namespace

void Rotate(const float* source, int size, const Angles& angles, float scale, float* target) {
  if (angles.interleaved) {
    RotatePairs<2>(source, angles, 1, scale, target);
  } else {
    RotatePairs<1>(source, angles, angles.half, scale, target);
  }
  for (int i = 2 * angles.half; i < size; ++i) target[i] = source[i] * scale;
}

void AttendPortable(std::span<const Query> queries, const float* keys, const float* values,
                    int head_size, std::vector<float>* scratch) {
  for (const Query& query : queries) {
    scratch->resize(static_cast<std::size_t>(query.visible));
    std::vector<float>& weights = *scratch;
    for (int position = 0; position < query.visible; ++position) {
      const float* key = keys + static_cast<std::ptrdiff_t>(position) * head_size;
      float sum = 0;
      for (int i = 0; i < head_size; ++i) sum += query.query[i] * key[i];
      weights[position] = sum;
    }
    const float highest = *std::ranges::max_element(weights);
    float total = 0;
    for (float& weight : weights) total += weight = std::exp(weight - highest);
    std::fill_n(query.result, head_size, 0.0F);
    for (int position = 0; position < query.visible; ++position) {
      const float* value = values + static_cast<std::ptrdiff_t>(position) * head_size;
      const float share = weights[position] / total;
      for (int i = 0; i < head_size; ++i) query.result[i] += share * value[i];
    }
  }
}

void AttendPortable(std::span<const Query> queries, const std::uint16_t* keys,
                    const std::uint16_t* values, int head_size, std::vector<float>* scratch) {
  int most = 0;
  for (const Query& query : queries) most = std::max(most, query.visible);
  const std::size_t count = static_cast<std::size_t>(most) * static_cast<std::size_t>(head_size);
  std::vector<float> wide(2 * count);
  WidenFloat16({keys, count}, {wide.data(), count});
  WidenFloat16({values, count}, {wide.data() + count, count});
  AttendPortable(queries, wide.data(), wide.data() + count, head_size, scratch);
}

namespace {

template <typename Number>
void AttendBy(Path path, std::span<const Query> queries, const Number* keys, const Number* values,
              int head_size, std::vector<float>* scratch) {
#if defined(__x86_64__)
  if (path == Path::kVnni && head_size % 16 == 0) {
    return AttendAvx512(queries, keys, values, head_size, scratch);
  }
  if (path != Path::kPortable) return AttendAvx2(queries, keys, values, head_size, scratch);
#endif
  AttendPortable(queries, keys, values, head_size, scratch);
}

}  // namespace

void Attend(std::span<const Query> queries, const float* keys, const float* values, int head_size,
            std::vector<float>* scratch, Path path) {
  AttendBy(path, queries, keys, values, head_size, scratch);
}

void Attend(std::span<const Query> queries, const std::uint16_t* keys, const std::uint16_t* values,
            int head_size, std::vector<float>* scratch, Path path) {
  AttendBy(path, queries, keys, values, head_size, scratch);
}

}  // namespace llmrouter::kernels
