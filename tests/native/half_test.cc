#include "kernels/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

namespace llmrouter::kernels {
namespace {

/// By the definition of IEEE 754: sign, 5 bits of exponent, 10 of fraction.
float Defined(std::uint16_t number) {
  const int exponent = (number >> 10) & 31;
  const int fraction = number & 1023;
  const float sign = (number & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return fraction != 0 ? std::nanf("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

TEST(HalfTest, EveryFloat16IsWidenedExactly) {
  std::vector<std::uint16_t> numbers(1 << 16);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::uint16_t>(i);
  std::vector<float> wide(numbers.size());
  WidenFloat16(numbers, wide);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const float defined = Defined(numbers[i]);
    if (std::isnan(defined)) {
      EXPECT_TRUE(std::isnan(wide[i])) << i;
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(defined)) << i;
    }
  }
}

TEST(HalfTest, AFloatBecomesTheNearestFloat16) {
  std::vector<float> numbers;
  for (int i = 0; i < 0x7bff; ++i) {
    const auto here = Defined(static_cast<std::uint16_t>(i));
    const auto next = Defined(static_cast<std::uint16_t>(i + 1));
    const float middle = (here + next) / 2;
    for (const float number :
         {here, std::nextafter(middle, here), middle, std::nextafter(middle, next)}) {
      numbers.push_back(number);
      numbers.push_back(-number);
    }
  }
  std::vector<std::uint16_t> narrow(numbers.size());
  NarrowFloat16(numbers, narrow);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto below = static_cast<int>(i / 8);
    const std::size_t kind = i % 8 / 2;
    const int even = below % 2 == 0 ? below : below + 1;
    const int expected = kind < 2 ? below : kind == 2 ? even : below + 1;
    EXPECT_EQ(narrow[i] & 0x7fff, expected) << numbers[i];
    EXPECT_EQ(narrow[i] >> 15, i % 2);
  }
}

TEST(HalfTest, WhatIsTooLargeForAFloat16BecomesItsLargest) {
  const std::vector<float> numbers = {65504.0F, 65519.0F,  65520.0F,     1e30F,
                                      INFINITY, -INFINITY, std::nanf("")};
  std::vector<std::uint16_t> narrow(numbers.size());
  NarrowFloat16(numbers, narrow);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(narrow[i], 0x7bff);
  EXPECT_EQ(narrow[5], 0xfbff);
  EXPECT_TRUE(std::isnan(Defined(narrow[6])));
}

TEST(HalfTest, ABfloat16IsTheUpperHalfOfAFloat) {
  const std::vector<std::uint16_t> numbers = {0x3f80, 0xc000, 0x7f80, 0x8000, 0x0001};
  std::vector<float> wide(numbers.size());
  WidenBfloat16(numbers, wide);
  EXPECT_EQ(wide[0], 1.0F);
  EXPECT_EQ(wide[1], -2.0F);
  EXPECT_EQ(wide[2], INFINITY);
  EXPECT_TRUE(std::signbit(wide[3]));
  EXPECT_EQ(wide[4], std::ldexp(1.0F, -133));
  const std::vector<std::uint16_t> nan = {0x7fc0};
  WidenBfloat16(nan, wide);
  EXPECT_TRUE(std::isnan(wide[0]));
}

}  // namespace
}  // namespace llmrouter::kernels
