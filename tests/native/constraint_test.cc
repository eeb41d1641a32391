#include "llmrouter/constraint.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>

#include "fake_decoder.h"
#include "fake_grammar.h"
#include "llmrouter/admission.h"
#include "llmrouter/batch.h"

namespace llmrouter {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kVocabulary = 64;
constexpr TokenId kEnd = 63;
constexpr std::size_t kWholeCache = 1 << 20;

/// After a token comes one of its two neighbours above, so that each mask tells the whole story.
std::vector<TokenId> Climb(const std::vector<TokenId>& said) {
  const TokenId last = said.empty() ? 0 : said.back();
  return {(last + 1) % 60, (last + 2) % 60};
}

bool Climbs(const std::vector<TokenId>& tokens) {
  std::vector<TokenId> said;
  for (const TokenId token : tokens) {
    const auto allowed = Climb(said);
    if (std::find(allowed.begin(), allowed.end(), token) == allowed.end()) return false;
    said.push_back(token);
  }
  return true;
}

/// A batch stepped by hand; its masks come from the true worker.
class ConstraintTest : public testing::Test {
 public:
  ~ConstraintTest() override { gate_.Open(); }  // A test that failed may have left it shut.

 protected:
  void Start(int slots = 4, Clock::duration timeout = seconds(60)) {
    auto decoder = std::make_unique<FakeDecoder>(DecoderLimits{slots, 64, kVocabulary});
    decoder_ = decoder.get();
    const Vocabulary vocabulary(std::vector<std::string>(kVocabulary, "x"), {kEnd});
    batch_ = std::make_unique<Batch>(std::move(decoder), vocabulary,
                                     BatchOptions{.prefill_chunk = 8, .mask_timeout = timeout});
    finished_.clear();
    failed_.clear();
  }

  RequestId Admit(std::shared_ptr<const Grammar> grammar, std::uint64_t seed = 7,
                  int max_tokens = 12, int answers = 1, int min_tokens = 0) {
    Request request;
    request.prompt = {1, 2, 3};
    request.sampling.temperature = 1.0F;
    request.sampling.seed = seed;
    request.max_tokens = max_tokens;
    request.min_tokens = min_tokens;
    request.answers = answers;
    request.grammar = std::move(grammar);
    request.trace = true;
    const RequestId id = next_id_++;
    std::vector<Event> events;
    batch_->Admit(
        std::make_unique<Sequence>(Submission{id, std::move(request), Clock::now()}, max_tokens),
        &events);
    return id;
  }

  void Take(const std::vector<Event>& events) {
    for (const Event& event : events) {
      if (const auto* finished = std::get_if<Finished>(&event)) {
        finished_[{finished->id, finished->answer}] = *finished;
      } else if (const auto* failed = std::get_if<Failed>(&event)) {
        failed_[failed->id] = failed->message;
      }
    }
  }
  void Step() {
    std::vector<Event> events;
    batch_->Step(&events);
    Take(events);
  }
  void RunOut() {
    while (batch_->running() > 0) Step();
  }
  const Finished& End(RequestId id, int answer = 0) { return finished_.at({id, answer}); }

  static std::shared_ptr<FakeGrammar> Climbing() {
    return std::make_shared<FakeGrammar>(kVocabulary, Climb);
  }

  /// Outlives the batch, whose worker may stand before it.
  Gate gate_;
  FakeDecoder* decoder_ = nullptr;
  std::unique_ptr<Batch> batch_;
  std::map<std::pair<RequestId, int>, Finished> finished_;
  std::map<RequestId, std::string> failed_;
  RequestId next_id_ = 1;
};

TEST_F(ConstraintTest, AnAnswerHasOnlyTokensThatItsGrammarAllows) {
  Start();
  const RequestId id = Admit(Climbing(), 7, 40);
  RunOut();
  EXPECT_EQ(End(id).tokens.size(), 40U);
  EXPECT_TRUE(Climbs(End(id).tokens));
  EXPECT_EQ(End(id).reason, FinishReason::kLength);
}

TEST_F(ConstraintTest, AnAnswerThatCanOnlyEndDoesWhateverItsMinTokens) {
  Start();
  const auto three = std::make_shared<FakeGrammar>(kVocabulary, [](const auto& said) {
    return said.size() < 3 ? std::vector<TokenId>{5, kEnd} : std::vector<TokenId>{kEnd};
  });
  const RequestId id = Admit(three, 7, 20, 1, 10);
  RunOut();
  EXPECT_EQ(End(id).reason, FinishReason::kStop);
  EXPECT_EQ(End(id).tokens, (std::vector<TokenId>{5, 5, 5, kEnd}));
}

TEST_F(ConstraintTest, EachOfSeveralRowsFollowsItsOwnPlace) {
  Start();
  const auto grammar = Climbing();
  std::vector<RequestId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(Admit(grammar, 100 + i, 30));
  RunOut();
  for (const RequestId id : ids) EXPECT_TRUE(Climbs(End(id).tokens));
  EXPECT_NE(End(ids[0]).tokens, End(ids[1]).tokens);
}

TEST_F(ConstraintTest, AnswersToOnePromptEachFollowTheirOwnPlace) {
  Start();
  const RequestId alone = Admit(Climbing(), 7, 20);
  RunOut();
  const std::vector<TokenId> expected = End(alone).tokens;
  Start();
  const RequestId id = Admit(Climbing(), 7, 20, 3);
  RunOut();
  EXPECT_EQ(End(id, 0).tokens, expected);
  for (int answer = 1; answer < 3; ++answer) {
    EXPECT_TRUE(Climbs(End(id, answer).tokens));
    EXPECT_NE(End(id, answer).tokens, expected);
  }
}

TEST_F(ConstraintTest, CompanyAnswersAsItDoesAlone) {
  Start();
  const RequestId alone = Admit(nullptr, 3);
  RunOut();
  const Finished expected = End(alone);
  Start();
  Admit(Climbing(), 1, 20);
  const RequestId free = Admit(nullptr, 3);
  Admit(Climbing(), 2, 20);
  RunOut();
  EXPECT_EQ(End(free).tokens, expected.tokens);
  EXPECT_EQ(End(free).logits, expected.logits);
}

TEST_F(ConstraintTest, ALateMaskHoldsUpNobodyAndChangesNothing) {
  Start();
  const RequestId alone = Admit(Climbing(), 5);
  RunOut();
  const Finished expected = End(alone);

  Start();
  auto grammar = Climbing();
  grammar->before = [this](const auto& said) {
    if (said.size() == 2) gate_.Pass();
  };
  const RequestId late = Admit(grammar, 5);
  const RequestId free = Admit(nullptr, 3);
  while (finished_.count({free, 0}) == 0) Step();  // Ends although the other one cannot go on.
  EXPECT_EQ(batch_->running(), 1);
  gate_.Open();
  RunOut();
  EXPECT_EQ(End(late).tokens, expected.tokens);
  EXPECT_EQ(End(late).logits, expected.logits);
}

TEST_F(ConstraintTest, AMaskThatNeverComesFailsItsAnswerAlone) {
  Start(4, milliseconds(20));
  auto grammar = Climbing();
  grammar->before = [this](const auto&) { gate_.Pass(); };
  const RequestId late = Admit(grammar);
  const RequestId free = Admit(nullptr, 3);
  RunOut();
  EXPECT_NE(failed_.at(late).find("took longer than"), std::string::npos);
  EXPECT_EQ(End(free).reason, FinishReason::kLength);
  gate_.Open();
}

TEST_F(ConstraintTest, AMatcherThatBreaksFailsItsAnswerAlone) {
  Start();
  auto grammar = Climbing();
  grammar->fails_after = 2;
  const RequestId broken = Admit(grammar);
  const RequestId whole = Admit(Climbing(), 3);
  RunOut();
  EXPECT_EQ(failed_.at(broken), "the grammar cannot be followed: it broke");
  EXPECT_TRUE(Climbs(End(whole).tokens));
}

TEST_F(ConstraintTest, AnAnswerIsCancelledWhileItsMaskIsComputed) {
  Start();
  auto grammar = Climbing();
  grammar->before = [this](const auto&) { gate_.Pass(); };
  const RequestId id = Admit(grammar);
  Step();
  gate_.AwaitArrival();
  std::vector<Event> events;
  batch_->Cancel(id, &events);
  Take(events);
  EXPECT_EQ(End(id).reason, FinishReason::kCancelled);
  EXPECT_EQ(batch_->running(), 0);
  gate_.Open();
  const RequestId next = Admit(Climbing());
  RunOut();
  EXPECT_TRUE(Climbs(End(next).tokens));
}

TEST_F(ConstraintTest, ABatchEndsWhileAMaskIsComputed) {
  Start();
  std::atomic<int> computed = 0;
  auto grammar = Climbing();
  grammar->before = [&](const auto&) {
    ++computed;
    std::this_thread::sleep_for(milliseconds(5));
  };
  for (int i = 0; i < 4; ++i) Admit(grammar, i);
  Step();
  batch_.reset();
  EXPECT_LE(computed, 4);
}

TEST_F(ConstraintTest, AParkedAnswerKeepsItsPlace) {
  for (const std::size_t most_bytes : {kWholeCache, std::size_t{0}}) {
    Start();
    const RequestId alone = Admit(Climbing(), 5);
    RunOut();
    const std::vector<TokenId> expected = End(alone).tokens;
    Start();
    const RequestId parked = Admit(Climbing(), 5);
    for (int i = 0; i < 4; ++i) Step();
    std::vector<Event> events;
    auto sequence = batch_->Park(0, most_bytes, &events);
    const RequestId other = Admit(Climbing(), 6);
    RunOut();
    batch_->Admit(std::move(sequence), &events);
    RunOut();
    EXPECT_EQ(End(parked).tokens, expected);
    EXPECT_TRUE(Climbs(End(other).tokens));
  }
}

TEST(AllowsOnly, LooksAtEveryTokenButTheEnds) {
  TokenMask mask(2);
  const std::vector<TokenId> ends = {3, 63};
  EXPECT_TRUE(AllowsOnly(mask, ends));
  mask[1] = 1U << 31;
  EXPECT_TRUE(AllowsOnly(mask, ends));
  mask[0] = 1U << 3;
  EXPECT_TRUE(AllowsOnly(mask, ends));
  mask[0] |= 1U << 4;
  EXPECT_FALSE(AllowsOnly(mask, ends));
}

TEST(CheckRequest, RefusesAGrammarForAnotherVocabulary) {
  Request request;
  request.prompt = {1};
  request.grammar =
      std::make_shared<FakeGrammar>(128, [](const auto&) { return std::vector<TokenId>{1}; });
  EXPECT_THROW(CheckRequest(request, {16, kVocabulary, 1}), Error);
  EXPECT_NO_THROW(CheckRequest(request, {16, 128, 1}));
}

TEST(Sampler, DrawsAsIfTheRuledOutTokensHadNoLogit) {
  constexpr int kTokens = 1000;  // The last word of a mask is not whole.
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 3);
  Sampler sampler(kTokens);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> logits(kTokens);
    for (float& logit : logits) logit = normal(random);
    TokenMask mask(MaskWords(kTokens) - (trial % 2));  // A mask may end before the vocabulary.
    for (std::uint32_t& word : mask) word = trial % 5 == 0 ? 0 : random() & random();
    mask[trial % mask.size()] = trial % 3 == 0 ? ~0U : 1U;
    std::vector<float> bare = logits;
    for (int token = 0; token < kTokens; ++token) {
      const std::size_t word = token / 32;
      const bool allowed = word < mask.size() && (mask[word] >> (token % 32) & 1) != 0;
      if (!allowed) bare[token] = -INFINITY;
    }
    SamplingOptions options;
    options.temperature = trial % 4 == 0 ? 0.0F : 1.1F;
    options.top_k = trial % 3 == 1 ? 20 : 0;
    options.top_p = trial % 2 == 1 ? 0.9F : 1.0F;
    options.min_p = trial % 7 == 1 ? 0.05F : 0.0F;
    options.seed = trial;
    DrawState state;
    const TokenId expected = sampler.Sample(bare, options, state).value();
    state.allowed = mask;
    EXPECT_EQ(sampler.Sample(logits, options, state).value(), expected) << trial;
  }
}

}  // namespace
}  // namespace llmrouter
