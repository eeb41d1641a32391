#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace llmrouter {

/// Why an operation was refused or failed; the binding maps each to a Python exception.
enum class ErrorCode {
  kInvalidArgument,
  kQueueFull,
  kContextTooLong,
  kModelUnavailable,
  kGenerationFailed,
  kDeadlineExceeded,
  kStopped,
};

/// Thrown by calls that refuse what they are given. Steps of the hot loop return `Result` instead.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

/// What went wrong in a step, in one sentence.
struct Failure {
  std::string message;
};

/// A value or the failure that prevented it.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}            // NOLINT: reads as `return value;`
  Result(Failure failure) : state_(std::move(failure)) {}  // NOLINT: reads as `return failure;`

  bool ok() const { return std::holds_alternative<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  const Failure& failure() const { return std::get<Failure>(state_); }

 private:
  std::variant<T, Failure> state_;
};

}  // namespace llmrouter
