#include "llmrouter/admission.h"

#include <gtest/gtest.h>

#include <cmath>

namespace llmrouter {
namespace {

constexpr AdmissionLimits kLimits{.context = 8, .vocabulary = 10, .max_waiting = 2};

Request Valid() {
  Request request;
  request.prompt = {1, 2, 3};
  return request;
}

ErrorCode CodeOf(const Request& request) {
  try {
    CheckRequest(request, kLimits);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "the request was accepted";
  return ErrorCode::kStopped;
}

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
           {.logit_bias = {{10, 1.0F}}},
           {.logit_bias = {{-1, 1.0F}}},
           {.logit_bias = {{1, nan}}},
       }) {
    Request request = Valid();
    request.sampling = sampling;
    EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
  }
}

TEST(Admission, RefusesMoreAnswersThanSlotsAndNamesBoth) {
  Request request = Valid();
  request.answers = 0;
  EXPECT_EQ(CodeOf(request), ErrorCode::kInvalidArgument);
  request.answers = 5;
  AdmissionLimits limits = kLimits;
  limits.slots = 5;
  EXPECT_NO_THROW(CheckRequest(request, limits));
  limits.slots = 4;
  try {
    CheckRequest(request, limits);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("n must be 1 to 4"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("got 5"), std::string::npos);
  }
}

TEST(Admission, RefusesAnswersThatTogetherTakeMoreMemoryThanThereIs) {
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 7;
  request.answers = 2;
  AdmissionLimits limits{64, 100, 1, 4, 20};
  CheckRequest(request, limits);
  limits.positions = 19;
  try {
    CheckRequest(request, limits);
    FAIL() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("20 tokens"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("has 19"), std::string::npos);
  }
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
