#include "llmrouter/text_stream.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace llmrouter {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// What a UTF-8 lead byte promises: how many bytes the character has, and the bounds of the second
/// one (Unicode 15, table 3-7). Length 0 for bytes that cannot lead.
struct Lead {
  int length;
  std::uint8_t second_low;
  std::uint8_t second_high;
};

Lead ReadLead(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// How many bytes at the start of `bytes` can belong to one character led by `lead`.
int ValidPrefix(std::string_view bytes, const Lead& lead) {
  int valid = 1;
  while (valid < lead.length && valid < static_cast<int>(bytes.size())) {
    const auto byte = static_cast<std::uint8_t>(bytes[valid]);
    const std::uint8_t low = valid == 1 ? lead.second_low : 0x80;
    const std::uint8_t high = valid == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) break;
    ++valid;
  }
  return valid;
}

/// Moves the whole characters at the start of `bytes` to `text`, a replacement for each invalid
/// part. What stays is the beginning of one character, or nothing.
void TakeCharacters(std::string* bytes, std::string* text) {
  std::string_view rest = *bytes;
  while (!rest.empty()) {
    const Lead lead = ReadLead(static_cast<std::uint8_t>(rest[0]));
    const int valid = ValidPrefix(rest, lead);
    if (valid == lead.length) {
      text->append(rest.substr(0, valid));
    } else if (lead.length > 0 && valid == static_cast<int>(rest.size())) {
      break;
    } else {
      text->append(kReplacement);
    }
    rest.remove_prefix(valid);
  }
  bytes->erase(0, bytes->size() - rest.size());
}

/// Length of the longest end of `text` that is a proper beginning of `stop`.
std::size_t Overlap(std::string_view text, std::string_view stop) {
  for (std::size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) return length;
  }
  return 0;
}

}  // namespace

std::string TextStream::Push(std::string_view bytes, bool may_stop) {
  if (stopped()) return {};
  partial_ += bytes;
  TakeCharacters(&partial_, &held_);
  return may_stop ? TakeFinal() : std::exchange(held_, {});
}

std::string TextStream::Finish() {
  if (stopped()) return {};
  if (!partial_.empty()) held_ += kReplacement;
  partial_.clear();
  std::string text = TakeFinal();
  if (!stopped()) text += std::exchange(held_, {});
  return text;
}

std::string TextStream::TakeFinal() {
  // The match that ends first wins, the longest of those: what a reader of single characters would
  // see, however the tokens were cut.
  std::size_t first_end = std::string::npos;
  std::size_t keep = 0;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at == std::string::npos) {
      keep = std::max(keep, Overlap(held_, stop));
      continue;
    }
    const std::size_t end = at + stop.size();
    if (end < first_end || (end == first_end && stop.size() > matched_->size())) {
      first_end = end;
      matched_ = &stop;
    }
  }
  const std::size_t final = stopped() ? first_end - matched_->size() : held_.size() - keep;
  std::string text = held_.substr(0, final);
  held_.erase(0, final);
  return text;
}

}  // namespace llmrouter
