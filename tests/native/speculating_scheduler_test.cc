// Answers with drafts against the same answers without: nothing but the number of decoder runs may
// differ.

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "fake_decoder.h"
#include "llmrouter/scheduler.h"

namespace llmrouter {
namespace {

constexpr int kVocabulary = 64;
constexpr int kContext = 96;
constexpr TokenId kEnd = 63;

/// All that was said of one answer.
struct Said {
  std::string text;
  int delta_tokens = 0;
  std::vector<SampledLogprob> logprobs;
  std::optional<Finished> finished;
  std::optional<Failed> failed;
};

/// Text that repeats itself, until a hash of all that the cache holds says otherwise.
TokenId MostlyRepeating(const std::vector<TokenId>& history) {
  std::uint32_t all = 2166136261U;
  for (const TokenId token : history) all = (all ^ static_cast<std::uint32_t>(token)) * 16777619U;
  if (all % 16 == 0) return static_cast<TokenId>(all / 16 % kVocabulary);
  const auto last = static_cast<std::uint32_t>(history.back());
  const auto before = history.size() < 2 ? 0U : static_cast<std::uint32_t>(*(history.end() - 2));
  return static_cast<TokenId>((last * 5 + before * 3 + 1) % 12);
}

class SpeculatingSchedulerTest : public testing::Test {
 protected:
  void Start(SpeculationOptions speculation, int slots = 4, std::size_t parked_bytes = 1 << 20) {
    auto decoder = std::make_unique<FakeDecoder>(DecoderLimits{slots, kContext, kVocabulary});
    decoder_ = decoder.get();
    decoder_->next = MostlyRepeating;
    std::vector<std::string> tokens;
    for (int i = 0; i < kEnd; ++i) tokens.emplace_back(1, static_cast<char>('A' + i % 26));
    SchedulerOptions options;
    options.batch = {.prefill_chunk = 16, .prefix_bytes = 4096, .speculation = speculation};
    options.parked_bytes = parked_bytes;
    scheduler_ =
        std::make_unique<Scheduler>(std::move(decoder), Vocabulary(tokens, {kEnd}), options);
    said_.clear();
  }

  RequestId Add(Request request) {
    request.trace = true;
    const RequestId id = next_id_++;
    const int limit =
        std::min(request.max_tokens, kContext - static_cast<int>(request.prompt.size()));
    scheduler_->Add(std::make_unique<Sequence>(Submission{id, std::move(request), now_}, limit));
    return id;
  }

  Said& Of(RequestId id, int answer = 0) { return said_[{id, answer}]; }

  void Take(const std::vector<Event>& events) {
    for (const Event& event : events) {
      if (const auto* delta = std::get_if<TextDelta>(&event)) {
        Said& said = Of(delta->id, delta->answer);
        EXPECT_FALSE(said.finished || said.failed) << "text after the end";
        said.text += delta->text;
        said.delta_tokens += delta->tokens;
        said.logprobs.insert(said.logprobs.end(), delta->logprobs.begin(), delta->logprobs.end());
      } else if (const auto* finished = std::get_if<Finished>(&event)) {
        EXPECT_FALSE(Of(finished->id, finished->answer).finished) << "two ends";
        Of(finished->id, finished->answer).finished = *finished;
      } else {
        Of(std::get<Failed>(event).id).failed = std::get<Failed>(event);
      }
    }
  }

  void Step() {
    std::vector<Event> events;
    scheduler_->Arrange(now_, &events);
    scheduler_->Step(&events);
    Take(events);
    now_ += std::chrono::milliseconds(10);
  }

  void Cancel(RequestId id) {
    std::vector<Event> events;
    scheduler_->Cancel(id, &events);
    Take(events);
  }

  void RunOut() {
    for (int step = 0; !scheduler_->idle(); ++step) {
      ASSERT_LT(step, 100'000) << "it never ends";
      Step();
    }
  }

  std::vector<Said> Alone(const Request& request, SpeculationOptions speculation = {}) {
    Start(speculation);
    const RequestId id = Add(request);
    RunOut();
    std::vector<Said> said;
    for (int answer = 0; answer < request.answers; ++answer) said.push_back(Of(id, answer));
    return said;
  }

  int Verifications() const {
    return static_cast<int>(std::ranges::count_if(decoder_->calls, &FakeDecoder::Call::verify));
  }

  FakeDecoder* decoder_ = nullptr;
  std::unique_ptr<Scheduler> scheduler_;
  Clock::time_point now_ = Clock::now();
  RequestId next_id_ = 1;
  std::map<std::pair<RequestId, int>, Said> said_;
};

void ExpectEqual(const Said& drafted, const Said& plain) {
  ASSERT_TRUE(drafted.finished.has_value());
  EXPECT_EQ(drafted.finished->tokens, plain.finished->tokens);
  EXPECT_EQ(drafted.finished->logits, plain.finished->logits);
  EXPECT_EQ(drafted.finished->reason, plain.finished->reason);
  EXPECT_EQ(drafted.finished->stop, plain.finished->stop);
  EXPECT_EQ(drafted.finished->completion_tokens, plain.finished->completion_tokens);
  EXPECT_EQ(drafted.text, plain.text);
  EXPECT_EQ(drafted.delta_tokens, plain.delta_tokens);
  ASSERT_EQ(drafted.logprobs.size(), plain.logprobs.size());
  for (std::size_t i = 0; i < plain.logprobs.size(); ++i) {
    EXPECT_EQ(drafted.logprobs[i].sampled.token, plain.logprobs[i].sampled.token);
    EXPECT_EQ(drafted.logprobs[i].sampled.logprob, plain.logprobs[i].sampled.logprob);
  }
}

using Random = std::mt19937;

SamplingOptions RandomSampling(Random& random) {
  SamplingOptions sampling;
  sampling.temperature = std::array{0.0F, 0.0F, 0.4F, 0.8F}[random() % 4];
  sampling.seed = random();
  if (random() % 3 == 0) sampling.top_k = 1 + static_cast<int>(random() % 20);
  if (random() % 3 == 0) sampling.top_p = 0.9F;
  if (random() % 3 == 0) sampling.min_p = 0.05F;
  if (random() % 4 == 0) sampling.repetition_penalty = 1.05F;
  if (random() % 4 == 0) sampling.presence_penalty = 0.2F;
  if (random() % 4 == 0) sampling.frequency_penalty = 0.05F;
  if (random() % 4 == 0) sampling.logit_bias = {{4, 1.5F}, {7, -2.0F}};
  return sampling;
}

Request RandomRequest(Random& random) {
  Request request;
  request.prompt.resize(1 + random() % 40);
  for (TokenId& token : request.prompt) token = static_cast<TokenId>(random() % 12);
  request.sampling = RandomSampling(random);
  // Some go on to the end of the context.
  request.max_tokens = 1 + static_cast<int>(random() % (random() % 3 == 0 ? 200 : 50));
  request.min_tokens = random() % 4 == 0 ? std::min(6, request.max_tokens) : 0;
  for (int stops = static_cast<int>(random() % 3); stops > 0; --stops) {
    request.stop.push_back(
        {static_cast<char>('A' + random() % 12), static_cast<char>('A' + random() % 12)});
  }
  request.priority = static_cast<Priority>(random() % 3);
  request.answers = random() % 5 == 0 ? 2 : 1;
  request.top_logprobs = random() % 3 == 0 ? 2 : -1;
  request.scope = random() % 2;
  return request;
}

TEST_F(SpeculatingSchedulerTest, AnswersAloneAreTheSameWhateverTheOptions) {
  Random random(1);
  std::uint64_t accepted = 0;
  for (int round = 0; round < 400; ++round) {
    const Request request = RandomRequest(random);
    const auto plain = Alone(request);
    const auto drafted = Alone(request, {.tokens = 1 + round % 12});
    for (int answer = 0; answer < request.answers; ++answer) {
      ExpectEqual(drafted[answer], plain[answer]);
    }
    accepted += scheduler_->batch().accepted_tokens();
    EXPECT_LE(scheduler_->batch().accepted_tokens(), scheduler_->batch().drafted_tokens());
    EXPECT_LT(decoder_->highest_position, kContext);
    if (HasFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(accepted, 2000U);
}

TEST_F(SpeculatingSchedulerTest, AnswersInCompanyAreTheSameWhoeverComesLeavesOrGivesWay) {
  Random random(2);
  std::uint64_t accepted = 0;
  std::uint64_t preemptions = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<Request> requests(12);
    std::vector<std::vector<Said>> plain;
    for (Request& request : requests) plain.push_back(Alone(request = RandomRequest(random)));
    Start({.tokens = 1 + round % 12, .rows = 4}, 2 + round % 3, round % 2 == 0 ? 0 : 1 << 20);
    std::vector<RequestId> ids;
    std::map<RequestId, bool> disturbed;
    while (ids.size() < requests.size() || !scheduler_->idle()) {
      if (ids.size() < requests.size() && random() % 6 == 0) {
        Request request = requests[ids.size()];
        const bool hurried = random() % 6 == 0;
        if (hurried) request.deadline = now_ + std::chrono::milliseconds(random() % 300);
        ids.push_back(Add(request));
        disturbed[ids.back()] = hurried;
      }
      if (!ids.empty() && random() % 60 == 0) {
        const RequestId id = ids[random() % ids.size()];
        Cancel(id);
        disturbed[id] = true;
      }
      Step();
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      for (int answer = 0; answer < requests[i].answers; ++answer) {
        const Said& said = Of(ids[i], answer);
        if (!disturbed[ids[i]]) {
          ExpectEqual(said, plain[i][answer]);
        } else {
          EXPECT_TRUE(plain[i][answer].text.starts_with(said.text));
        }
      }
    }
    EXPECT_LT(decoder_->highest_position, kContext);
    accepted += scheduler_->batch().accepted_tokens();
    preemptions += scheduler_->preemptions();
    if (HasFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(accepted, 500U);
  EXPECT_GT(preemptions, 5U);
}

Request Looping(int max_tokens = 60) {
  Request request;
  request.prompt = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2};
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

TokenId Loop(const std::vector<TokenId>& history) { return history.back() % 4 + 1; }

TEST_F(SpeculatingSchedulerTest, ALoopIsFollowedInFewRuns) {
  Start({.tokens = 12});
  decoder_->next = Loop;
  const RequestId id = Add(Looping(60));
  RunOut();
  EXPECT_EQ(Of(id).finished->completion_tokens, 60);
  // One prompt; drafts of 4, 8, 12, 12, 12 and what is left, each followed by one token.
  EXPECT_EQ(decoder_->calls.size(), 7U);
  EXPECT_EQ(scheduler_->batch().steps(), 7U);
  EXPECT_EQ(scheduler_->batch().completion_tokens(), 60U);
  EXPECT_EQ(scheduler_->batch().drafted_tokens(), scheduler_->batch().accepted_tokens());
}

TEST_F(SpeculatingSchedulerTest, NothingIsDraftedWhereItIsOffOrTheDecoderCannotVerify) {
  for (const bool able : {false, true}) {
    Start({.tokens = able ? 0 : 12});
    decoder_->next = Loop;
    decoder_->can_verify = able;
    Add(Looping());
    RunOut();
    EXPECT_EQ(Verifications(), 0);
    EXPECT_EQ(scheduler_->batch().drafted_tokens(), 0U);
  }
}

TEST_F(SpeculatingSchedulerTest, NothingIsDraftedInLargerCompanyOrBesideAPrefill) {
  Start({.tokens = 12, .rows = 2}, 3);
  decoder_->next = Loop;
  for (int i = 0; i < 3; ++i) Add(Looping(20));
  for (int step = 0; step < 10; ++step) Step();
  EXPECT_EQ(Verifications(), 0);
  RunOut();

  Start({.tokens = 12, .rows = 2}, 2);
  decoder_->next = Loop;
  Add(Looping(80));
  Step();
  Request prompt;
  prompt.prompt.resize(80, 5);
  prompt.max_tokens = 1;
  const RequestId id = Add(prompt);
  while (!Of(id).finished) Step();
  EXPECT_EQ(Verifications(), 0);
  RunOut();
  EXPECT_GT(Verifications(), 0);
}

TEST_F(SpeculatingSchedulerTest, AFailedVerificationCostsNoAnswer) {
  Start({.tokens = 12});
  decoder_->next = Loop;
  decoder_->fail_verify = true;
  const RequestId id = Add(Looping(30));
  RunOut();
  EXPECT_EQ(Of(id).finished->completion_tokens, 30);
  EXPECT_EQ(Verifications(), 1);
  EXPECT_EQ(scheduler_->batch().drafted_tokens(), 0U);
}

TEST_F(SpeculatingSchedulerTest, ACloseCallIsDecodedRatherThanVerified) {
  Start({.tokens = 12});
  decoder_->next = Loop;
  decoder_->close_call = [](const auto& history) { return history.size() % 20 == 0; };
  const RequestId id = Add(Looping(70));
  RunOut();
  EXPECT_EQ(Of(id).finished->completion_tokens, 70);
  const auto decoded = std::ranges::count(decoder_->calls, false, &FakeDecoder::Call::prefill);
  EXPECT_EQ(decoded, 3);  // After 20, 40 and 60 tokens.
  EXPECT_GT(Verifications(), 6);
}

TEST_F(SpeculatingSchedulerTest, WhetherACallIsCloseIsJudgedByWhatBiasAndPenaltiesLeave) {
  // The favourite leads by 4 everywhere; a bias brings another token to 0.1 below it.
  for (const float bias : {0.0F, 3.9F}) {
    Start({.tokens = 12});
    decoder_->next = Loop;
    Request request = Looping(70);
    request.sampling.logit_bias = {{9, bias}};
    const RequestId id = Add(request);
    RunOut();
    EXPECT_EQ(Of(id).finished->completion_tokens, 70);
    EXPECT_EQ(scheduler_->batch().accepted_tokens() > 0, bias == 0);
  }
}

TEST_F(SpeculatingSchedulerTest, AStopStringInTheMiddleOfADraftEndsTheAnswerThere) {
  Start({.tokens = 12});
  decoder_->next = Loop;
  Request request = Looping(60);
  request.stop = {"EBCDEBCDEB"};
  const RequestId id = Add(request);
  RunOut();
  EXPECT_EQ(Of(id).text, "D");
  EXPECT_EQ(Of(id).finished->completion_tokens, 11);
  EXPECT_EQ(Of(id).finished->reason, FinishReason::kStop);
}

TEST_F(SpeculatingSchedulerTest, LogitsThatAreNotNumbersFailTheAnswerWhereTheyAreReached) {
  Start({.tokens = 12});
  decoder_->next = Loop;
  decoder_->poison = [](const auto& history) { return history.size() == 30; };
  const RequestId id = Add(Looping(60));
  RunOut();
  ASSERT_TRUE(Of(id).failed.has_value());
  EXPECT_EQ(Of(id).text.size(), 20U);
}

}  // namespace
}  // namespace llmrouter
