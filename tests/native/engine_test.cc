#include "llmrouter/engine.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <thread>

#include "fake_decoder.h"

namespace llmrouter {
namespace {

constexpr int kVocabulary = 32;
/// Seconds that a step is said to have taken while the decoder was tried.
constexpr double kTrial = 0.5;

/// A fake decoder that a test can hold in the middle of a step.
class GatedDecoder : public FakeDecoder {
 public:
  using FakeDecoder::FakeDecoder;

  Result<std::span<float>> Prefill(int row, std::span<const TokenId> tokens,
                                   int position) override {
    Pass();
    return FakeDecoder::Prefill(row, tokens, position);
  }
  Result<std::span<float>> Decode(std::span<const TokenId> tokens,
                                  std::span<const int> positions) override {
    Pass();
    return FakeDecoder::Decode(tokens, positions);
  }

  void Close() { Set(false); }
  void Open() { Set(true); }
  void WaitUntilHeld() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_; });
  }

 private:
  void Set(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  void Pass() {
    std::unique_lock lock(mutex_);
    held_ = !open_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    held_ = false;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  bool held_ = false;
};

Request Ask(std::vector<TokenId> prompt, int max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

SchedulerOptions Options(int max_waiting, int prefill_chunk) {
  SchedulerOptions options;
  options.batch = {.prefill_chunk = prefill_chunk};
  options.max_waiting = max_waiting;
  options.parked_bytes = 1 << 20;
  return options;
}

class EngineTest : public testing::Test {
 protected:
  void Start(int slots, int max_waiting = 8) {
    auto decoder = std::make_unique<GatedDecoder>(DecoderLimits{slots, 4000, kVocabulary});
    decoder_ = decoder.get();
    decoder_->next = [](const auto&) { return TokenId{1}; };
    decoder_->NoteTrial(kTrial);
    const Vocabulary vocabulary(std::vector<std::string>(kVocabulary, "x"), {});
    engine_ = std::make_unique<Engine>(std::move(decoder), vocabulary, Options(max_waiting, 64));
  }

  void TearDown() override {
    if (decoder_ != nullptr) decoder_->Open();
  }

  /// Reads events as asyncio would until this request has ended.
  Event LastEvent(RequestId id) {
    while (ended_.find(id) == ended_.end()) {
      pollfd waiting{engine_->event_fd(), POLLIN, 0};
      if (poll(&waiting, 1, 60000) != 1) throw std::runtime_error("no event for a minute");
      for (Event& event : engine_->Drain()) Keep(std::move(event));
    }
    return ended_.at(id);
  }

  void Keep(Event event) {
    if (auto* delta = std::get_if<TextDelta>(&event)) {
      text_[delta->id] += delta->text;
    } else if (auto* finished = std::get_if<Finished>(&event)) {
      ended_.emplace(finished->id, *finished);
    } else {
      ended_.emplace(std::get<Failed>(event).id, std::get<Failed>(event));
    }
  }

  Finished FinishedEvent(RequestId id) { return std::get<Finished>(LastEvent(id)); }

  GatedDecoder* decoder_ = nullptr;
  std::unique_ptr<Engine> engine_;
  std::map<RequestId, std::string> text_;
  std::map<RequestId, Event> ended_;
};

ErrorCode Refusal(Engine& engine, Request request) {
  try {
    engine.Submit(std::move(request));
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "the request was accepted";
  return ErrorCode::kInvalidArgument;
}

/// Whether the engine takes nothing more; what it does take ends with the rest.
bool Stopped(Engine& engine) {
  try {
    engine.Submit(Ask({1}, 1));
  } catch (const Error& error) {
    return error.code() == ErrorCode::kStopped;
  }
  return false;
}

TEST_F(EngineTest, ManyRequestsThroughFewSlotsAllFinish) {
  Start(3, 100);
  std::vector<RequestId> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(engine_->Submit(Ask({1, 2}, 1 + i % 7)));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(FinishedEvent(ids[i]).completion_tokens, 1 + i % 7);
    EXPECT_EQ(text_[ids[i]], std::string(1 + i % 7, 'x'));
  }
}

TEST_F(EngineTest, AFullQueueRefusesAndTakesAgainWhenThereIsRoom) {
  Start(1, 2);
  decoder_->Close();
  const RequestId running = engine_->Submit(Ask({1}, 1));
  decoder_->WaitUntilHeld();
  engine_->Submit(Ask({1}, 1));
  const RequestId last = engine_->Submit(Ask({1}, 1));
  EXPECT_EQ(Refusal(*engine_, Ask({1}, 1)), ErrorCode::kQueueFull);
  EXPECT_EQ(engine_->Statistics().waiting, 2);
  EXPECT_EQ(engine_->Statistics().running, 1);
  decoder_->Open();
  FinishedEvent(running);
  FinishedEvent(last);
  FinishedEvent(engine_->Submit(Ask({1}, 1)));
}

TEST_F(EngineTest, CancellingARunningRequestFreesItsSlotWithinOneStep) {
  Start(1, 4);
  const RequestId endless = engine_->Submit(Ask({1}, 3900));
  decoder_->Close();
  decoder_->WaitUntilHeld();
  const std::size_t calls = decoder_->calls.size();
  const RequestId next = engine_->Submit(Ask({2, 2}, 1));
  engine_->Cancel(endless);
  decoder_->Open();
  EXPECT_EQ(FinishedEvent(endless).reason, FinishReason::kCancelled);
  FinishedEvent(next);
  // The held step, then the prefill of the next request: nothing in between.
  EXPECT_EQ(decoder_->calls.size(), calls + 2);
  EXPECT_TRUE(decoder_->calls.back().prefill);
}

TEST_F(EngineTest, TheDeadlineOfWhoIsHeldPassesThoughNothingElseRuns) {
  Start(1);
  decoder_->Close();
  Request request = Ask({1}, 3900);
  request.deadline = Clock::now() + std::chrono::milliseconds(300);
  const RequestId held = engine_->Submit(std::move(request));
  decoder_->WaitUntilHeld();
  engine_->Hold(held);
  decoder_->Open();
  EXPECT_EQ(std::get<Failed>(LastEvent(held)).code, ErrorCode::kDeadlineExceeded);
}

TEST_F(EngineTest, WhoIsHeldCountsAgainstTheQueue) {
  Start(1, 1);
  decoder_->Close();
  const RequestId held = engine_->Submit(Ask({1}, 9));
  decoder_->WaitUntilHeld();
  engine_->Hold(held);
  decoder_->Open();
  while (engine_->Statistics().held == 0) std::this_thread::yield();
  EXPECT_EQ(engine_->Statistics().running, 0);
  decoder_->Close();
  const RequestId next = engine_->Submit(Ask({1}, 9));
  decoder_->WaitUntilHeld();
  EXPECT_EQ(Refusal(*engine_, Ask({1}, 1)), ErrorCode::kQueueFull);
  engine_->Resume(held);
  decoder_->Open();
  FinishedEvent(next);
  EXPECT_EQ(FinishedEvent(held).completion_tokens, 9);
  EXPECT_EQ(engine_->Statistics().held, 0);
}

TEST_F(EngineTest, ARefusalSaysWhatTheQueueHolds) {
  Start(2, 1);
  decoder_->Close();
  engine_->Submit(Ask({1}, 1));
  decoder_->WaitUntilHeld();
  engine_->Submit(Ask({1}, 1));
  engine_->Submit(Ask({1}, 1));
  try {
    engine_->Submit(Ask({1}, 1));
    ADD_FAILURE() << "the request was accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "1 of 2 slots are busy, 2 requests are waiting and 0 are held for their readers; "
                 "a queue of 1 takes no more");
  }
}

TEST_F(EngineTest, TheWaitIsEstimatedAtOnceAndBeforeAnythingHasEnded) {
  Start(2, 100);
  decoder_->Close();
  engine_->Submit(Ask({1}, 9));
  decoder_->WaitUntilHeld();
  EXPECT_EQ(engine_->Statistics().estimated_wait_seconds, 0);
  Request several = Ask({1}, 9);
  several.answers = 2;
  engine_->Submit(several);
  // The other slot is free, and two answers wait for it and the next.
  const double one = engine_->EstimatedWait(Priority::kNormal, 1);
  EXPECT_GE(one, kTrial);
  EXPECT_DOUBLE_EQ(engine_->Statistics().estimated_wait_seconds, one);
  EXPECT_GT(engine_->EstimatedWait(Priority::kNormal, 2), one);
  Request high = Ask({1}, 1000);
  high.priority = Priority::kHigh;
  engine_->Submit(high);
  EXPECT_GT(engine_->EstimatedWait(Priority::kNormal, 1), one);
  EXPECT_LT(engine_->EstimatedWait(Priority::kHigh, 1),
            engine_->EstimatedWait(Priority::kNormal, 1));
}

TEST_F(EngineTest, WhoCannotBeTakenOffHisSlotFailsAndTheThreadLives) {
  Start(1);
  decoder_->Close();
  const RequestId broken = engine_->Submit(Ask({1}, 3900));
  decoder_->WaitUntilHeld();
  decoder_->fail_copy = [](auto) { return true; };
  engine_->Hold(broken);
  decoder_->Open();
  EXPECT_EQ(std::get<Failed>(LastEvent(broken)).message, "the device cannot copy");
  FinishedEvent(engine_->Submit(Ask({1}, 2)));
}

TEST_F(EngineTest, TheDecodersSecondsAreAmongTheBusyOnes) {
  constexpr std::chrono::milliseconds kHeld(20);
  Start(1, 4);
  decoder_->Close();
  const RequestId running = engine_->Submit(Ask({1}, 3));
  decoder_->WaitUntilHeld();
  std::this_thread::sleep_for(kHeld);
  decoder_->Open();
  FinishedEvent(running);
  const EngineStatistics statistics = engine_->Statistics();
  EXPECT_GE(statistics.decoder_seconds, std::chrono::duration<double>(kHeld).count());
  EXPECT_GE(statistics.busy_seconds, statistics.decoder_seconds);
}

TEST_F(EngineTest, CancellingAWaitingRequestNeverRunsIt) {
  Start(1, 4);
  decoder_->Close();
  const RequestId running = engine_->Submit(Ask({1}, 1));
  decoder_->WaitUntilHeld();
  const RequestId waiting = engine_->Submit(Ask({2}, 1));
  engine_->Cancel(waiting);
  decoder_->Open();
  const Finished finished = FinishedEvent(waiting);
  EXPECT_EQ(finished.reason, FinishReason::kCancelled);
  EXPECT_EQ(finished.completion_tokens, 0);
  FinishedEvent(running);
  EXPECT_EQ(engine_->Statistics().prompt_tokens, 1U);
}

TEST_F(EngineTest, StoppingCancelsEverythingAndRefusesMore) {
  Start(1, 4);
  decoder_->Close();
  const RequestId running = engine_->Submit(Ask({1}, 3900));
  decoder_->WaitUntilHeld();
  const RequestId waiting = engine_->Submit(Ask({1}, 1));
  std::thread stopping([&] { engine_->Stop(); });
  // What is running ends when it is stopped, and not before: it holds until nothing more is taken.
  while (!Stopped(*engine_)) std::this_thread::yield();
  decoder_->Open();
  stopping.join();
  decoder_ = nullptr;  // Freed with the model.
  EXPECT_EQ(FinishedEvent(running).reason, FinishReason::kCancelled);
  EXPECT_EQ(FinishedEvent(waiting).reason, FinishReason::kCancelled);
  EXPECT_EQ(Refusal(*engine_, Ask({1}, 1)), ErrorCode::kStopped);
  engine_->Stop();
}

TEST_F(EngineTest, AStepThatThrowsFailsItsSequencesAndTheThreadLives) {
  Start(2, 4);
  decoder_->fail_prefill = [](auto tokens) -> bool {
    if (tokens[0] == 7) throw std::bad_alloc();
    return false;
  };
  const Event broken = LastEvent(engine_->Submit(Ask({7, 7}, 1)));
  EXPECT_EQ(std::get<Failed>(broken).message, "the machine has no memory left for this step");
  EXPECT_EQ(FinishedEvent(engine_->Submit(Ask({1}, 2))).completion_tokens, 2);
}

TEST_F(EngineTest, TimingsCoverQueuePrefillAndDecode) {
  Start(1, 4);
  const Timings timings = FinishedEvent(engine_->Submit(Ask({1, 2, 3}, 5))).timings;
  EXPECT_GE(timings.queue, 0);
  EXPECT_GE(timings.prefill, 0);
  EXPECT_GT(timings.decode, 0);
  EXPECT_NEAR(timings.first_token, timings.queue + timings.prefill, 1e-9);
}

TEST_F(EngineTest, RefusesOptionsThatCannotWork) {
  const auto make = [](int max_waiting, int chunk) {
    Engine(std::make_unique<FakeDecoder>(DecoderLimits{1, 8, kVocabulary}), Vocabulary({}, {}),
           Options(max_waiting, chunk));
  };
  EXPECT_THROW(make(-1, 64), Error);
  EXPECT_THROW(make(1, 1), Error);
  EXPECT_NO_THROW(make(0, 2));
}

}  // namespace
}  // namespace llmrouter
