#include "llmrouter/admission.h"

#include <gtest/gtest.h>

#include <cmath>

namespace llmrouter {
namespace {

constexpr AdmissionLimits kLimits{.context = 8, .vocabulary = 10};

Request Valid() {
  Request request;
  request.prompt = {1, 2, 3};
  return request;
}

Error RefusalOf(const Request& request, const AdmissionLimits& limits = kLimits) {
  try {
    CheckRequest(request, limits);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "the request was accepted";
  return {ErrorCode::kStopped, ""};
}

ErrorCode CodeOf(const Request& request) { return RefusalOf(request).code(); }

TEST(Admission, AcceptsAPromptThatLeavesRoomForOneToken) {
  Request request = Valid();
  request.prompt.assign(7, 1);
  EXPECT_NO_THROW(CheckRequest(request, kLimits));
}

TEST(Admission, RefusesAPromptThatFillsTheContextAndNamesBothNumbers) {
  Request request = Valid();
  request.prompt.assign(8, 1);
  try {
    CheckRequest(request, kLimits);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kContextTooLong);
    EXPECT_NE(std::string(error.what()).find("8 tokens"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("holds 8"), std::string::npos);
  }
}

TEST(Admission, RefusesAnEmptyPrompt) {
  Request request = Valid();
  request.prompt.clear();
  EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
}

TEST(Admission, RefusesTokensOutsideTheVocabulary) {
  for (const TokenId token : {-1, 10}) {
    Request request = Valid();
    request.prompt.push_back(token);
    EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument) << token;
  }
}

TEST(Admission, RefusesTemperaturesThatAreNegativeOrNotNumbers) {
  for (const float temperature : {-0.1F, std::nanf(""), INFINITY}) {
    Request request = Valid();
    request.sampling.temperature = temperature;
    EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument) << temperature;
  }
}

TEST(Admission, RefusesTopPOutsideItsBounds) {
  for (const float top_p : {0.0F, 1.5F, std::nanf("")}) {
    Request request = Valid();
    request.sampling.top_p = top_p;
    EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument) << top_p;
  }
}

TEST(Admission, RefusesWhatShapesADrawOutsideItsBounds) {
  const float nan = std::nanf("");
  for (const SamplingOptions& sampling : std::vector<SamplingOptions>{
           {.min_p = -0.1F},
           {.min_p = 1.1F},
           {.min_p = nan},
           {.repetition_penalty = 0},
           {.repetition_penalty = nan},
           {.presence_penalty = nan},
           {.frequency_penalty = INFINITY},
           {.logit_bias = {{1, nan}}},
       }) {
    Request request = Valid();
    request.sampling = sampling;
    EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
  }
}

TEST(Admission, RefusesWhatNoAnswerCanHonour) {
  Request request = Valid();
  request.min_tokens = request.max_tokens + 1;
  EXPECT_EQ(RefusalOf(request).field(), "min_tokens");
  request = Valid();
  request.sampling.logit_bias = {{1, 1.0F}, {2, 1.0F}, {1, 2.0F}};
  EXPECT_EQ(RefusalOf(request).field(), "logit_bias[1]");
  for (const int top : {-5, 11, 1'000'000'000}) {
    request = Valid();
    request.top_logprobs = top;
    EXPECT_EQ(RefusalOf(request).field(), "top_logprobs");
  }
}

TEST(Admission, NamesTheFieldThatIsWrongWithItsValueAndBound) {
  Request request = Valid();
  request.sampling.top_k = -1;
  const Error error = RefusalOf(request);
  EXPECT_EQ(error.field(), "top_k");
  EXPECT_EQ(error.description(), "is -1; it must be at least 0");
  EXPECT_STREQ(error.what(), "top_k is -1; it must be at least 0");
}

TEST(Admission, BiasesOfTokensThatThisModelLacksMaySuitAnother) {
  for (const TokenId token : {10, -1}) {
    Request request = Valid();
    request.sampling.logit_bias = {{1, 1.0F}, {token, 1.0F}};
    const Error error = RefusalOf(request);
    EXPECT_EQ(error.code(), ErrorCode::kUnsupportedOption);
    EXPECT_EQ(error.field(), "logit_bias[" + std::to_string(token) + "]");
    EXPECT_NE(error.description().find("0 to 9"), std::string::npos);
  }
}

TEST(Admission, MoreAnswersThanSlotsMaySuitAnotherModel) {
  Request request = Valid();
  request.answers = 0;
  EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
  request.answers = 5;
  AdmissionLimits limits = kLimits;
  limits.slots = 5;
  EXPECT_NO_THROW(CheckRequest(request, limits));
  limits.slots = 4;
  const Error error = RefusalOf(request, limits);
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedOption);
  EXPECT_EQ(error.field(), "n");
  EXPECT_NE(error.description().find("is 5; it must be at most 4"), std::string::npos);
}

TEST(Admission, AnswersThatTogetherTakeMoreMemoryThanThereIsMaySuitAnotherModel) {
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 7;
  request.answers = 2;
  AdmissionLimits limits{64, 100, 4, 20};
  CheckRequest(request, limits);
  limits.positions = 19;
  const Error error = RefusalOf(request, limits);
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedOption);
  EXPECT_EQ(error.field(), "max_tokens");
  EXPECT_NE(error.description().find("is 7"), std::string::npos);
  EXPECT_NE(error.description().find("20 tokens"), std::string::npos);
  EXPECT_NE(error.description().find("has 19"), std::string::npos);
}

TEST(Admission, RefusesNegativeTopKNoTokensAndEmptyStops) {
  Request request = Valid();
  request.sampling.top_k = -1;
  EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
  request = Valid();
  request.max_tokens = 0;
  EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
  request = Valid();
  request.stop = {"ok", ""};
  EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
}

TEST(Admission, RequestsThatFreeSlotsWillTakeDoNotCountAsWaiting) {
  EXPECT_TRUE(MayWait(3, 2, 2));
  EXPECT_FALSE(MayWait(4, 2, 2));
  EXPECT_TRUE(MayWait(0, 1, 0));
  EXPECT_FALSE(MayWait(0, 0, 0));
}

TEST(Admission, AClassOfPriorityIsWorthItsAgeing) {
  const Clock::time_point now = Clock::now();
  const auto ageing = std::chrono::seconds(10);
  EXPECT_LT(TurnOf(now, Priority::kHigh, ageing), TurnOf(now, Priority::kNormal, ageing));
  EXPECT_LT(TurnOf(now, Priority::kNormal, ageing), TurnOf(now, Priority::kLow, ageing));
  EXPECT_LT(TurnOf(now, Priority::kLow, ageing),
            TurnOf(now + std::chrono::seconds(11), Priority::kNormal, ageing));
}

TEST(Admission, TheWaitIsEstimatedFromHowLongSlotsAreHeld) {
  EXPECT_EQ(EstimateWait(0, 2, 4, 8.0), 0);
  EXPECT_DOUBLE_EQ(EstimateWait(0, 0, 4, 8.0), 2.0);
  EXPECT_DOUBLE_EQ(EstimateWait(7, 0, 4, 8.0), 16.0);
}

TEST(Admission, AnswersEndWithTheContext) {
  EXPECT_EQ(AnswerLimit(6, 100, 8), 2);
  EXPECT_EQ(AnswerLimit(6, 1, 8), 1);
}

}  // namespace
}  // namespace llmrouter
