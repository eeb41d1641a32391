#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "fake_decoder.h"
#include "llmrouter/batch.h"

namespace llmrouter {

inline constexpr int kVocabulary = 64;
inline constexpr TokenId kEnd = 63;

/// Token i is the letter 'A' + i; the end token has no text.
inline Vocabulary Letters() {
  std::vector<std::string> tokens;
  for (int i = 0; i < kVocabulary - 1; ++i) tokens.emplace_back(1, static_cast<char>('A' + i % 26));
  return {tokens, {kEnd}};
}

struct Outcome {
  std::string text;
  int delta_tokens = 0;
  std::vector<TokenId> ids;
  /// How much of `text` and `ids` each delta brought them to.
  std::vector<std::pair<std::size_t, std::size_t>> places;
  std::vector<SampledLogprob> logprobs;
  std::vector<Finished> finished;
  std::vector<Failed> failed;
};

/// A batch stepped by hand, with what it has said about each request.
class BatchTest : public testing::Test {
 protected:
  void Start(int slots, int chunk = 8, int context = 64) {
    auto decoder = std::make_unique<FakeDecoder>(DecoderLimits{slots, context, kVocabulary});
    decoder_ = decoder.get();
    decoder_->alike = alike_;
    batch_ = std::make_unique<Batch>(std::move(decoder), Letters(), BatchOptions{chunk, prefix_});
    outcomes_.clear();
  }

  /// The texts of a request's answers are told apart by its id and theirs.
  static RequestId Key(RequestId id, int answer) { return id + 1000 * answer; }

  RequestId Admit(Request request) {
    request.trace = true;
    const RequestId id = next_id_++;
    const int limit = std::min(request.max_tokens,
                               batch_->limits().context - static_cast<int>(request.prompt.size()));
    auto sequence =
        std::make_unique<Sequence>(Submission{id, std::move(request), Clock::now()}, limit);
    sequence->TakeAnswered(batch_->vocabulary());
    Admit(std::move(sequence));
    return id;
  }

  RequestId Admit(std::vector<TokenId> prompt, int max_tokens = 10, SamplingOptions sampling = {0},
                  std::vector<std::string> stop = {}) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling = sampling;
    request.stop = std::move(stop);
    return Admit(std::move(request));
  }

  void Admit(std::unique_ptr<Sequence> sequence) {
    std::vector<Event> events;
    batch_->Admit(std::move(sequence), &events);
    Take(events);
  }

  std::unique_ptr<Sequence> Park(int row, std::size_t most_bytes = 1 << 20) {
    std::vector<Event> events;
    auto parked = batch_->Park(row, most_bytes, &events);
    Take(events);
    return parked;
  }

  void Step() {
    std::vector<Event> events;
    batch_->Step(&events);
    Take(events);
  }

  void Take(const std::vector<Event>& events) {
    for (const Event& event : events) {
      if (const auto* delta = std::get_if<TextDelta>(&event)) {
        EXPECT_FALSE(delta->text.empty() && delta->logprobs.empty());
        Outcome& outcome = outcomes_[Key(delta->id, delta->answer)];
        outcome.text += delta->text;
        outcome.delta_tokens += delta->tokens;
        outcome.ids.insert(outcome.ids.end(), delta->ids.begin(), delta->ids.end());
        outcome.places.emplace_back(outcome.text.size(), outcome.ids.size());
        outcome.logprobs.insert(outcome.logprobs.end(), delta->logprobs.begin(),
                                delta->logprobs.end());
      } else if (const auto* finished = std::get_if<Finished>(&event)) {
        outcomes_[Key(finished->id, finished->answer)].finished.push_back(*finished);
      } else {
        const auto& failed = std::get<Failed>(event);
        outcomes_[failed.id].failed.push_back(failed);
      }
    }
  }

  void RunOut() {
    while (batch_->running() > 0) Step();
  }

  std::vector<TokenId> Tokens(RequestId id) { return outcomes_[id].finished.at(0).tokens; }

  /// What a request answers when nobody shares the batch.
  std::vector<TokenId> Alone(const std::vector<TokenId>& prompt, int max_tokens = 10,
                             SamplingOptions sampling = {0}) {
    Start(1, 1000);
    const RequestId id = Admit(prompt, max_tokens, sampling);
    RunOut();
    return Tokens(id);
  }

  FakeDecoder* decoder_ = nullptr;
  std::unique_ptr<Batch> batch_;
  std::map<RequestId, Outcome> outcomes_;
  RequestId next_id_ = 1;
  std::size_t prefix_ = 0;
  bool alike_ = false;
};

inline std::vector<TokenId> Prompt(int length, int seed) {
  std::vector<TokenId> prompt(length);
  for (int i = 0; i < length; ++i) prompt[i] = (i * 7 + seed * 13) % (kVocabulary - 1);
  return prompt;
}

inline Request Several(int answers, int prompt, const SamplingOptions& sampling,
                       int max_tokens = 12) {
  Request request;
  request.prompt = Prompt(prompt, 4);
  request.answers = answers;
  request.sampling = sampling;
  request.max_tokens = max_tokens;
  return request;
}

}  // namespace llmrouter
