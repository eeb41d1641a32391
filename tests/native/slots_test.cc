#include "llmrouter/slots.h"

#include <gtest/gtest.h>

namespace llmrouter {
namespace {

TEST(Slots, TheLowestFreeRowIsTakenFirst) {
  SlotTable slots(3);
  EXPECT_EQ(slots.Join(), 0);
  EXPECT_EQ(slots.Join(), 1);
  slots.Leave(1);
  EXPECT_EQ(slots.Join(), 1);
  EXPECT_EQ(slots.free(), 1);
}

TEST(Slots, TheLastRowMovesIntoAHole) {
  SlotTable slots(4);
  for (int i = 0; i < 4; ++i) slots.Join();
  const auto move = slots.Leave(1);
  ASSERT_TRUE(move.has_value());
  EXPECT_EQ(move->from, 3);
  EXPECT_EQ(move->to, 1);
  EXPECT_EQ(slots.used(), 3);
}

TEST(Slots, NothingMovesWhenTheLastRowLeaves) {
  SlotTable slots(2);
  slots.Join();
  slots.Join();
  EXPECT_FALSE(slots.Leave(1).has_value());
  EXPECT_FALSE(slots.Leave(0).has_value());
  EXPECT_EQ(slots.used(), 0);
}

}  // namespace
}  // namespace llmrouter
