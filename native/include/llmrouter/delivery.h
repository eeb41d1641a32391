#pragma once

#include <mutex>
#include <vector>

#include "llmrouter/request.h"

namespace llmrouter {

/// Carries the events of each step from the engine thread to one reader, who waits on a file
/// descriptor rather than on a lock.
class Delivery {
 public:
  Delivery();
  ~Delivery();
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  /// Appends `events`, leaves it empty and makes the descriptor readable.
  void Publish(std::vector<Event>* events);

  /// Takes everything published so far and makes the descriptor unreadable.
  std::vector<Event> Drain();

  /// An eventfd, owned by this object; readable while events wait.
  int event_fd() const { return event_fd_; }

 private:
  int event_fd_;
  std::mutex mutex_;
  std::vector<Event> events_;
};

}  // namespace llmrouter
