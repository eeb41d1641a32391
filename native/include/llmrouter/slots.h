#pragma once

#include <optional>

namespace llmrouter {

/// A sequence's cache moving from one row to another.
struct RowMove {
  int from = 0;
  int to = 0;
};

/// Keeps the running rows dense: they are always 0..used()-1.
class SlotTable {
 public:
  explicit SlotTable(int slots) : slots_(slots) {}

  int slots() const { return slots_; }
  int used() const { return used_; }
  int free() const { return slots_ - used_; }

  /// Takes the lowest free row. At least one must be free.
  int Join();

  /// Frees `row`; the last row has to move into the hole unless it was the last itself.
  std::optional<RowMove> Leave(int row);

 private:
  int slots_;
  int used_ = 0;
};

}  // namespace llmrouter
