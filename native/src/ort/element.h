#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "ort/ort_api.h"

namespace llmrouter::ort {

/// Types that keys, values and logits may have.
enum class Element { kFloat32, kFloat16, kBfloat16 };

/// The type of ONNX Runtime's number, if it is one of these.
constexpr std::optional<Element> ElementOf(int type) {
  switch (type) {
    case kTypeFloat:
      return Element::kFloat32;
    case kTypeFloat16:
      return Element::kFloat16;
    case kTypeBfloat16:
      return Element::kBfloat16;
    default:
      return std::nullopt;
  }
}

constexpr int TypeOf(Element element) {
  switch (element) {
    case Element::kFloat32:
      return kTypeFloat;
    case Element::kFloat16:
      return kTypeFloat16;
    case Element::kBfloat16:
      return kTypeBfloat16;
  }
  return 0;
}

constexpr std::size_t BytesOf(Element element) {
  return element == Element::kFloat32 ? sizeof(float) : sizeof(std::uint16_t);
}

/// Writes so many numbers of a type as floats, exactly.
void Widen(Element element, const void* numbers, std::span<float> out);

}  // namespace llmrouter::ort
