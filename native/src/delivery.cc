#include "llmrouter/delivery.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <system_error>
#include <utility>

namespace llmrouter {

Delivery::Delivery() : event_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (event_fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

Delivery::~Delivery() { close(event_fd_); }

void Delivery::Publish(std::vector<Event>* events) {
  if (events->empty()) return;
  const std::lock_guard lock(mutex_);
  const bool was_empty = events_.empty();
  events_.insert(events_.end(), std::make_move_iterator(events->begin()),
                 std::make_move_iterator(events->end()));
  events->clear();
  if (!was_empty) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);
}

std::vector<Event> Delivery::Drain() {
  const std::lock_guard lock(mutex_);
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = read(event_fd_, &count, sizeof count);
  return std::exchange(events_, {});
}

}  // namespace llmrouter
