#pragma once

// Attention by registers, for whatever width: included by the file of each, which defines in an
// unnamed namespace
//   LLMROUTER_ATTENTION, LLMROUTER_ATTENTION_INLINE  the attributes of functions for its processors
//   Vector, kWide                                    a register and how many values it holds
//   kMostQueries, kPositions                         queries computed at once, and positions
// and Load, Store, All, Fma, Max, Round, PowerOfTwo, ZeroBelow, Highest, Sum and Sums. Queries that
// are computed at once share the loading of keys and values: in groups of query heads that share a
// head of the cache, and in prompts, that makes attention a matter of arithmetic rather than of
// memory.

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "kernels/attention.h"

namespace llmrouter::kernels {
namespace {

/// Positions from that whose keys or values are asked for to that whose are used. The cache lies in
/// small pages, at whose ends the processor's own foresight ends.
constexpr int kAhead = 16;

/// Asks for memory that is read soon; beyond what is there it asks for nothing.
template <typename Number>
LLMROUTER_ATTENTION_INLINE void Prefetch(const Number* begin, std::ptrdiff_t count) {
  constexpr std::size_t kLine = 64;
  const auto* at = reinterpret_cast<const char*>(begin);
  const auto* end = reinterpret_cast<const char*>(begin + count);
  for (; at < end; at += kLine) _mm_prefetch(at, _MM_HINT_T0);
}

/// exp(x) for x <= 0, 0 below -87, NaN for NaN (range reduction after Cephes' expf).
LLMROUTER_ATTENTION_INLINE Vector Exp(Vector x) {
  const Vector lowest = All(-87.0F);
  const Vector clamped = Max(lowest, x);  // In this order NaN stays NaN.
  const Vector n = Round(clamped * All(1.44269504088896341F));
  Vector r = Fma(n, All(-0.693359375F), clamped);
  r = Fma(n, All(2.12194440e-4F), r);
  Vector p = All(1.9875691500e-4F);
  for (const float term :
       {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F}) {
    p = Fma(p, r, All(term));
  }
  p = Fma(p * r, r, r) + All(1.0F);
  return ZeroBelow(x, lowest, p * PowerOfTwo(n));
}

/// Products of the queries with four keys; `scores` is [queries, stride].
template <int kQueries, typename Number>
LLMROUTER_ATTENTION_INLINE void Score(const Query* queries,
                                      const std::array<const Number*, kPositions>& keys,
                                      int head_size, float* scores, std::size_t stride) {
  Vector sums[kQueries][kPositions];
  for (auto& query : sums) {
    for (auto& sum : query) sum = Vector{};
  }
#pragma GCC unroll 1
  for (int at = 0; at < head_size; at += kWide) {
    Vector q[kQueries];
    for (int i = 0; i < kQueries; ++i) q[i] = Load(queries[i].query + at);
    for (int position = 0; position < kPositions; ++position) {
      const Vector key = Load(keys[position] + at);
      for (int i = 0; i < kQueries; ++i) {
        sums[i][position] = Fma(q[i], key, sums[i][position]);
      }
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    _mm_storeu_ps(scores + static_cast<std::size_t>(i) * stride, Sums(sums[i]));
  }
}

/// Turns the first `count` scores into weights and returns their sum. Scores up to the next
/// multiple of kWide are overwritten.
LLMROUTER_ATTENTION float Weigh(float* scores, int count) {
  const int wide = (count + kWide - 1) / kWide * kWide;
  std::fill(scores + count, scores + wide, -std::numeric_limits<float>::infinity());
  Vector maxima = Load(scores);
  for (int at = kWide; at < wide; at += kWide) {
    maxima = Max(maxima, Load(scores + at));
  }
  const Vector highest = All(Highest(maxima));
  Vector total = Vector{};
  for (int at = 0; at < wide; at += kWide) {
    const Vector weights = Exp(Load(scores + at) - highest);
    Store(scores + at, weights);
    total += weights;
  }
  return Sum(total);
}

/// Adds the weighted values of the positions first..last-1 to the results, by registers from value
/// `at` on.
template <int kQueries, int kRegisters, typename Number>
LLMROUTER_ATTENTION_INLINE void Add(const Query* queries, const float* weights, std::size_t stride,
                                    const Number* values, int head_size, int at, int first,
                                    int last) {
  Vector sums[kQueries][kRegisters];
  for (int i = 0; i < kQueries; ++i) {
    for (int r = 0; r < kRegisters; ++r) {
      sums[i][r] = Load(queries[i].result + at + r * kWide);
    }
  }
#pragma GCC unroll 1
  for (int position = first; position < last; ++position) {
    const Number* value = values + static_cast<std::ptrdiff_t>(position) * head_size + at;
    if (position + kAhead < last) Prefetch(value + kAhead * head_size, kRegisters * kWide);
    Vector w[kQueries];
    for (int i = 0; i < kQueries; ++i) {
      w[i] =
          All(weights[static_cast<std::size_t>(i) * stride + static_cast<std::size_t>(position)]);
    }
    for (int r = 0; r < kRegisters; ++r) {
      const Vector v = Load(value + r * kWide);
      for (int i = 0; i < kQueries; ++i) sums[i][r] = Fma(w[i], v, sums[i][r]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int r = 0; r < kRegisters; ++r) {
      Store(queries[i].result + at + r * kWide, sums[i][r]);
    }
  }
}

template <int kQueries, typename Number>
LLMROUTER_ATTENTION void AddAll(const Query* queries, const float* weights, std::size_t stride,
                                const Number* values, int head_size, int first, int last) {
  if (first >= last) return;
  int at = 0;
  for (; at + 4 * kWide <= head_size; at += 4 * kWide) {
    Add<kQueries, 4>(queries, weights, stride, values, head_size, at, first, last);
  }
  for (; at < head_size; at += kWide) {
    Add<kQueries, 1>(queries, weights, stride, values, head_size, at, first, last);
  }
}

template <int kQueries, typename Number>
LLMROUTER_ATTENTION void AttendBlock(const Query* queries, const Number* keys, const Number* values,
                                     int head_size, std::vector<float>* scratch) {
  int most = 0;
  int least = std::numeric_limits<int>::max();
  for (int i = 0; i < kQueries; ++i) {
    most = std::max(most, queries[i].visible);
    least = std::min(least, queries[i].visible);
  }
  const auto stride = static_cast<std::size_t>((most + kWide - 1) / kWide * kWide);
  if (scratch->size() < kQueries * stride) scratch->resize(kQueries * stride);
  float* scores = scratch->data();
  for (int position = 0; position < most; position += kPositions) {
    const int soon = std::min(kPositions, most - position - kAhead);
    Prefetch(keys + static_cast<std::ptrdiff_t>(position + kAhead) * head_size,
             std::ptrdiff_t{soon} * head_size);
    std::array<const Number*, kPositions> four;
    for (int i = 0; i < kPositions; ++i) {
      // Behind the last position it stands in for those that are not there.
      four[i] = keys + static_cast<std::ptrdiff_t>(std::min(position + i, most - 1)) * head_size;
    }
    Score<kQueries>(queries, four, head_size, scores + position, stride);
  }
  Prefetch(values, std::ptrdiff_t{std::min(kAhead, most)} * head_size);
  std::array<float, kQueries> totals;
  for (int i = 0; i < kQueries; ++i) {
    totals[i] = Weigh(scores + static_cast<std::size_t>(i) * stride, queries[i].visible);
    std::fill_n(queries[i].result, head_size, 0.0F);
  }
  AddAll<kQueries>(queries, scores, stride, values, head_size, 0, least);
  for (int i = 0; i < kQueries; ++i) {
    // Not with a weight of 0: what lies behind a query's last position may be no number.
    AddAll<1>(queries + i, scores + static_cast<std::size_t>(i) * stride, stride, values, head_size,
              least, queries[i].visible);
    const Vector inverse = All(1.0F / totals[i]);
    for (int at = 0; at < head_size; at += kWide) {
      float* result = queries[i].result + at;
      Store(result, Load(result) * inverse);
    }
  }
}

template <int kQueries, typename Number>
void AttendSome(std::span<const Query> queries, const Number* keys, const Number* values,
                int head_size, std::vector<float>* scratch) {
  if (static_cast<int>(queries.size()) == kQueries) {
    return AttendBlock<kQueries>(queries.data(), keys, values, head_size, scratch);
  }
  if constexpr (kQueries > 1) {
    AttendSome<kQueries - 1>(queries, keys, values, head_size, scratch);
  }
}

template <typename Number>
void AttendBlocks(std::span<const Query> queries, const Number* keys, const Number* values,
                  int head_size, std::vector<float>* scratch) {
  while (!queries.empty()) {
    const auto count = std::min<std::size_t>(queries.size(), kMostQueries);
    AttendSome<kMostQueries>(queries.first(count), keys, values, head_size, scratch);
    queries = queries.subspan(count);
  }
}

}  // namespace
}  // namespace llmrouter::kernels
