#include "llmrouter/slots.h"

#include <cassert>

namespace llmrouter {

int SlotTable::Join() {
  assert(used_ < slots_);
  return used_++;
}

std::optional<RowMove> SlotTable::Leave(int row) {
  assert(row >= 0 && row < used_);
  --used_;
  if (row == used_) return std::nullopt;
  return RowMove{used_, row};
}

}  // namespace llmrouter
