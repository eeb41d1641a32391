#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/half.h"
#include "llmrouter/processor.h"

namespace llmrouter::kernels {
namespace {

constexpr int kMost = 70;

/// Random keys and values, and NaN behind them.
struct Cache {
  explicit Cache(int head_size, std::uint32_t seed = 1) : size(head_size) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto count = static_cast<std::size_t>(kMost * head_size);
    for (auto* part : {&keys, &values}) {
      for (std::size_t i = 0; i < count; ++i) part->push_back(normal(random));
      part->resize(count + static_cast<std::size_t>(16 * head_size), std::nanf(""));
    }
    for (std::size_t i = 0; i < 64 * static_cast<std::size_t>(head_size); ++i) {
      queries.push_back(normal(random) / 3);
    }
  }

  /// The results of queries of which query i sees visible[i] positions.
  std::vector<float> Results(const std::vector<int>& visible, Path path) const {
    std::vector<float> results(visible.size() * static_cast<std::size_t>(size), std::nanf(""));
    std::vector<Query> asked;
    for (std::size_t i = 0; i < visible.size(); ++i) {
      const std::size_t at = i * static_cast<std::size_t>(size);
      asked.push_back({queries.data() + at, results.data() + at, visible[i]});
    }
    std::vector<float> scratch;
    if (half) {
      const auto narrow_keys = Narrow(keys);
      const auto narrow_values = Narrow(values);
      Attend(asked, narrow_keys.data(), narrow_values.data(), size, &scratch, path);
    } else {
      Attend(asked, keys.data(), values.data(), size, &scratch, path);
    }
    return results;
  }

  /// Keeps keys and values as float16, which hold these numbers exactly.
  void Halve() {
    half = true;
    for (auto* part : {&keys, &values}) {
      const auto narrow = Narrow(*part);
      WidenFloat16(narrow, *part);
    }
  }

  static std::vector<std::uint16_t> Narrow(const std::vector<float>& numbers) {
    std::vector<std::uint16_t> narrow(numbers.size());
    NarrowFloat16(numbers, narrow);
    return narrow;
  }

  int size;
  bool half = false;
  std::vector<float> keys, values, queries;
};

class AttentionTest : public testing::TestWithParam<Path> {
 protected:
  void SetUp() override {
    if (GetParam() == Path::kAvx2 && !DetectProcessor().avx2) GTEST_SKIP() << "needs AVX2";
    if (GetParam() == Path::kVnni && !DetectProcessor().avx512_vnni) GTEST_SKIP() << "needs VNNI";
  }
};

TEST_P(AttentionTest, EqualsTheFormula) {
  for (const int size : {8, 24, 32, 64, 96, 128}) {
    const Cache cache(size);
    const std::vector<int> visible = {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, kMost};
    const std::vector<float> results = cache.Results(visible, GetParam());
    for (std::size_t q = 0; q < visible.size(); ++q) {
      std::vector<double> weights;
      for (int position = 0; position < visible[q]; ++position) {
        double product = 0;
        for (int i = 0; i < size; ++i) {
          product += double{cache.queries[q * size + i]} * cache.keys[position * size + i];
        }
        weights.push_back(std::exp(product));
      }
      const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
      for (int i = 0; i < size; ++i) {
        double expected = 0;
        for (int position = 0; position < visible[q]; ++position) {
          expected += weights[position] / total * cache.values[position * size + i];
        }
        ASSERT_NEAR(results[q * size + i], expected, 2e-6) << size << " " << visible[q];
      }
    }
  }
}

TEST_P(AttentionTest, KeysAndValuesOf16BitsGiveTheBitsOfTheSameNumbersIn32) {
  for (const int size : {8, 24, 64, 96}) {
    Cache cache(size);
    cache.Halve();
    const std::vector<int> visible = {1, 3, 4, 9, 16, 17, 31, kMost};
    const std::vector<float> narrow = cache.Results(visible, GetParam());
    cache.half = false;
    EXPECT_EQ(narrow, cache.Results(visible, GetParam()));
  }
}

TEST_P(AttentionTest, AQuerysResultDoesNotDependOnItsCompany) {
  const Cache cache(64);
  const std::vector<int> visible = {5, 6, 7, 8, 9, 10, 11, 40};
  const std::vector<float> together = cache.Results(visible, GetParam());
  for (std::size_t skipped = 0; skipped < visible.size(); ++skipped) {
    Cache later = cache;
    later.queries.erase(later.queries.begin(),
                        later.queries.begin() + static_cast<std::ptrdiff_t>(skipped) * 64);
    const std::vector<float> alone = later.Results({visible[skipped]}, GetParam());
    for (int i = 0; i < 64; ++i) {
      ASSERT_EQ(together[skipped * 64 + i], alone[i]) << "query " << skipped;
    }
  }
}

TEST_P(AttentionTest, ScoresFarApartNeitherOverflowNorVanish) {
  Cache cache(16);
  for (float& query : cache.queries) query *= 1000;
  for (const float result : cache.Results({1, 7, 64, kMost}, GetParam())) {
    EXPECT_TRUE(std::isfinite(result));
  }
}

TEST_P(AttentionTest, WhatIsNoNumberInAQueryStaysInItsResult) {
  Cache cache(64);
  cache.queries[64 + 3] = std::nanf("");
  const std::vector<float> results = cache.Results({9, 9, 9}, GetParam());
  for (int i = 0; i < 64; ++i) {
    EXPECT_TRUE(std::isfinite(results[i]) && std::isfinite(results[128 + i]));
    EXPECT_TRUE(std::isnan(results[64 + i]));
  }
}

std::string NameOf(const testing::TestParamInfo<Path>& tested) {
  switch (tested.param) {
    case Path::kPortable:
      return "Portable";
    case Path::kAvx2:
      return "Avx2";
    case Path::kVnni:
      return "Avx512";
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(Paths, AttentionTest,
                         testing::Values(Path::kPortable, Path::kAvx2, Path::kVnni), NameOf);

TEST(Rotation, TurnsPairsThatAreHalfApartOrNeighbours) {
  const std::vector<float> head = {1, 2, 3, 4, 5, 6};
  const std::vector<float> cosines = {0.0F, 0.5F};
  const std::vector<float> sines = {1.0F, 2.0F};
  std::vector<float> turned(6);
  Rotate(head.data(), 6, {cosines.data(), sines.data(), 2, false}, 10, turned.data());
  EXPECT_EQ(turned, (std::vector<float>{-30, -70, 10, 60, 50, 60}));
  Rotate(head.data(), 6, {cosines.data(), sines.data(), 2, true}, 1, turned.data());
  EXPECT_EQ(turned, (std::vector<float>{-2, 1, -6.5, 8, 5, 6}));
}

}  // namespace
}  // namespace llmrouter::kernels
