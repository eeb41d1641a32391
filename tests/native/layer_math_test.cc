#include "kernels/layer_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace llmrouter::kernels {
namespace {

TEST(LayerMath, ASumIsNormalisedByItsRootMeanSquare) {
  for (const int width : {1, 7, 8, 9, 576}) {
    std::vector<float> a, b, gain;
    double squares = 0;
    for (int i = 0; i < width; ++i) {
      a.push_back(std::sin(static_cast<float>(i)) * 3);
      b.push_back(std::cos(static_cast<float>(i)));
      gain.push_back(1 + static_cast<float>(i % 5));
      squares += std::pow(double{a.back()} + b.back(), 2);
    }
    std::vector<float> sum(a.size()), normed(a.size());
    AddNorm(a.data(), b.data(), gain.data(), a.size(), 1e-5F, sum.data(), normed.data());
    for (int i = 0; i < width; ++i) {
      EXPECT_EQ(sum[i], a[i] + b[i]);
      const double expected = double{sum[i]} / std::sqrt(squares / width + 1e-5) * gain[i];
      EXPECT_NEAR(normed[i], expected, 1e-5) << width;
    }
  }
}

TEST(LayerMath, AGateIsItsValueTimesItsSigmoid) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> gate = {-200, -87.5F, -20, -1, -0.0F, 0, 0.5F, 3, 88, 1e30F, infinity};
  const std::vector<float> up(gate.size(), 2);
  std::vector<float> result(gate.size());
  GateBySilu(gate.data(), up.data(), gate.size(), result.data());
  for (std::size_t i = 0; i + 1 < gate.size(); ++i) {
    const double expected = 2 * double{gate[i]} / (1 + std::exp(-double{gate[i]}));
    EXPECT_NEAR(result[i], expected, std::fabs(expected) * 1e-6 + 1e-30) << gate[i];
  }
  EXPECT_EQ(result.back(), infinity);
}

TEST(LayerMath, WhatIsNoNumberStaysInItsPlaceOrItsToken) {
  const std::vector<float> gate = {1, std::nanf(""), 1};
  const std::vector<float> up(3, 1);
  std::vector<float> result(3), sum(3);
  GateBySilu(gate.data(), up.data(), 3, result.data());
  EXPECT_TRUE(std::isfinite(result[0]) && std::isnan(result[1]) && std::isfinite(result[2]));
  AddNorm(gate.data(), up.data(), up.data(), 3, 1e-5F, sum.data(), result.data());
  EXPECT_TRUE(std::isnan(result[0]) && std::isnan(result[1]));
}

}  // namespace
}  // namespace llmrouter::kernels
