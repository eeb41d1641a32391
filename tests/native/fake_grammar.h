#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "llmrouter/constraint.h"

namespace llmrouter {

/// Holds back whoever passes until it is opened.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  /// Waits until somebody stands before it.
  void AwaitArrival() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

/// A grammar whose rule is a function of what the answer has said so far.
class FakeGrammar : public Grammar {
 public:
  using Said = std::vector<TokenId>;
  using Rule = std::function<std::vector<TokenId>(const Said& said)>;

  FakeGrammar(int vocabulary, Rule rule) : rule_(std::move(rule)), first_(MaskWords(vocabulary)) {
    Fill({}, first_);
  }

  std::unique_ptr<Matcher> Start() const override { return std::make_unique<Answer>(*this); }
  std::span<const std::uint32_t> first_mask() const override { return first_; }

  /// Runs on the worker's thread before a mask is written.
  std::function<void(const Said& said)> before;
  /// After so many tokens an answer cannot be followed any more.
  std::size_t fails_after = 1000;

 private:
  class Answer : public Matcher {
   public:
    explicit Answer(const FakeGrammar& grammar) : grammar_(grammar) {}

    std::optional<Failure> Advance(TokenId token, std::span<std::uint32_t> mask) override {
      said_.push_back(token);
      if (grammar_.before) grammar_.before(said_);
      if (said_.size() > grammar_.fails_after) return Failure{"it broke"};
      grammar_.Fill(said_, mask);
      return std::nullopt;
    }

   private:
    const FakeGrammar& grammar_;
    Said said_;
  };

  void Fill(const Said& said, std::span<std::uint32_t> mask) const {
    std::fill(mask.begin(), mask.end(), 0U);
    for (const TokenId token : rule_(said)) mask[token / 32] |= 1U << (token % 32);
  }

  const Rule rule_;
  TokenMask first_;
};

}  // namespace llmrouter
