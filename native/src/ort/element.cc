#include "ort/element.h"

#include <algorithm>

#include "kernels/half.h"

namespace llmrouter::ort {

void Widen(Element element, const void* numbers, std::span<float> out) {
  switch (element) {
    case Element::kFloat32:
      std::copy_n(static_cast<const float*>(numbers), out.size(), out.begin());
      return;
    case Element::kFloat16:
      kernels::WidenFloat16({static_cast<const std::uint16_t*>(numbers), out.size()}, out);
      return;
    case Element::kBfloat16:
      kernels::WidenBfloat16({static_cast<const std::uint16_t*>(numbers), out.size()}, out);
      return;
  }
}

}  // namespace llmrouter::ort
