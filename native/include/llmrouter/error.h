#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace llmrouter {

/// Why an operation was refused or failed; the binding maps each to a Python exception.
enum class ErrorCode {
  kInvalidArgument,
  /// The request is sound, and this model cannot do what it asks; another may.
  kUnsupportedOption,
  kQueueFull,
  kContextTooLong,
  kModelUnavailable,
  kGenerationFailed,
  kDeadlineExceeded,
  /// The reader of an answer does not take what it says.
  kSlowReader,
  kStopped,
};

/// Thrown by calls that refuse what they are given. Steps of the hot loop return `Result` instead.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  /// A wrong field of a request: the message is both, one after the other.
  Error(ErrorCode code, std::string field, std::string description)
      : std::runtime_error(field + " " + description),
        code_(code),
        field_(std::move(field)),
        description_(std::move(description)) {}
  ErrorCode code() const { return code_; }
  /// The field as requests name it; empty where no field is to blame.
  const std::string& field() const { return field_; }
  /// Its value and its bound.
  const std::string& description() const { return description_; }

 private:
  ErrorCode code_;
  std::string field_;
  std::string description_;
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
