#include "first_failure.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace llmrouter {
namespace {

TEST(FirstFailure, NothingIsThrownWhereNothingWas) {
  FirstFailure failure;
  int done = 0;
  failure.Catch([&] { ++done; });
  EXPECT_NO_THROW(failure.Rethrow());
  EXPECT_EQ(done, 1);
}

TEST(FirstFailure, WhatWasThrownFirstIsThrownAgain) {
  FirstFailure failure;
  failure.Catch([] { throw std::bad_alloc(); });
  failure.Catch([] { throw std::runtime_error("later"); });
  EXPECT_THROW(failure.Rethrow(), std::bad_alloc);
}

TEST(FirstFailure, OneOfSeveralThreadsFailuresIsKept) {
  FirstFailure failure;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back(
          [&failure, i] { failure.Catch([i] { throw std::runtime_error(std::to_string(i)); }); });
    }
  }
  EXPECT_THROW(failure.Rethrow(), std::runtime_error);
}

}  // namespace
}  // namespace llmrouter
