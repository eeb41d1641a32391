#pragma once

#include <cstddef>

namespace llmrouter::kernels {

/// Zeroed memory straight from the system, in large pages where it has them: weights are read from
/// end to end in every step, which would cost a page-table walk per page.
class Pages {
 public:
  /// Throws std::bad_alloc.
  explicit Pages(std::size_t bytes);
  ~Pages();
  Pages(Pages&& other) noexcept;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  Pages& operator=(Pages&&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace llmrouter::kernels
