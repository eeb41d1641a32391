#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llmrouter {

/// Turns the bytes of tokens into text that can be shown: whole UTF-8 characters, nothing that may
/// still become a stop string. Invalid bytes become U+FFFD, one per maximal invalid part, as soon
/// as they are definitely invalid.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// Takes the bytes of one token and returns the text that became final, which may be empty. Stop
  /// strings are not looked for in text that comes before `may_stop`.
  std::string Push(std::string_view bytes, bool may_stop = true);

  /// Ends the text: returns what was held back, unless a stop string has matched.
  std::string Finish();

  /// Whether a stop string has matched; nothing follows it.
  bool stopped() const { return matched_ != nullptr; }

  /// The stop string that matched, or empty.
  std::string matched() const { return matched_ == nullptr ? std::string() : *matched_; }

 private:
  std::string TakeFinal();

  std::vector<std::string> stops_;
  const std::string* matched_ = nullptr;
  /// The beginning of a character whose other bytes have not come yet.
  std::string partial_;
  /// Whole characters not yet returned.
  std::string held_;
};

}  // namespace llmrouter
