#include "ort/memory_budget.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace llmrouter::ort {
namespace {

TEST(MemoryBudgetTest, WhatIsGivenBackMayBeTakenAgain) {
  MemoryBudget budget(100);
  EXPECT_TRUE(budget.Take(60));
  EXPECT_FALSE(budget.Take(41));
  EXPECT_TRUE(budget.Take(40));
  budget.GiveBack(60);
  EXPECT_TRUE(budget.Take(59));
  EXPECT_EQ(budget.used(), 99u);
}

TEST(MemoryBudgetTest, WhatIsRefusedDoesNotCount) {
  MemoryBudget budget(100);
  EXPECT_FALSE(budget.Take(101));
  EXPECT_EQ(budget.used(), 0u);
}

TEST(MemoryBudgetTest, NoLimitRefusesNothing) {
  MemoryBudget budget(0);
  EXPECT_TRUE(budget.Take(std::size_t{1} << 60));
}

TEST(MemoryBudgetTest, ThreadsTogetherNeverHoldMoreThanTheLimit) {
  MemoryBudget budget(1000);
  std::atomic<int> beyond = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      std::size_t held = 0;
      for (int i = 0; i < 10'000; ++i) {
        if (budget.Take(7)) held += 7;
        if (held > 1000) ++beyond;
        if (i % 3 == 0 && held > 0) {
          budget.GiveBack(held);
          held = 0;
        }
      }
      budget.GiveBack(held);
    });
  }
  for (std::thread& one : threads) one.join();
  EXPECT_EQ(beyond, 0);
  EXPECT_EQ(budget.used(), 0u);
}

}  // namespace
}  // namespace llmrouter::ort
