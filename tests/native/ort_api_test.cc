#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "llmrouter/ort_decoder.h"
#include "ort/contract.h"
#include "ort/kv_cache.h"
#include "ort/runtime.h"
#include "ort/session.h"

namespace llmrouter::ort {
namespace {

/// Pins the positions of the table against a real library, named by LLMROUTER_TEST_ORT_LIBRARY.
class OrtApiTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* library = std::getenv("LLMROUTER_TEST_ORT_LIBRARY");
    if (library == nullptr) GTEST_SKIP() << "LLMROUTER_TEST_ORT_LIBRARY is not set";
    library_ = library;
    version_ = LoadOnnxRuntime(library_, 2);
  }

  std::string library_;
  std::string version_;
};

TEST_F(OrtApiTest, TheVersionIsThatOfTheFile) {
  EXPECT_NE(library_.find("libonnxruntime.so." + version_), std::string::npos) << version_;
}

TEST_F(OrtApiTest, TensorsKeepTheirTypeShapeAndMemory) {
  std::array<float, 6> data = {};
  const std::array<std::int64_t, 2> shape = {2, 3};
  const ValuePtr value = WrapTensor(data.data(), shape);
  EXPECT_EQ(ShapeOf(value.get()), (std::vector<std::int64_t>{2, 3}));
  void* memory = nullptr;
  Check(GetApi()(kGetTensorMutableData, value.get(), &memory));
  EXPECT_EQ(memory, data.data());
  const auto info = Create<TensorInfoPtr>(kGetTensorTypeAndShape, value.get());
  int type = 0;
  Check(GetApi()(kGetTensorElementType, info.get(), &type));
  EXPECT_EQ(type, kTypeFloat);
}

TEST_F(OrtApiTest, AMissingModelIsRefusedInTheLibrarysWords) {
  try {
    OrtModel model;
    model.path = "/nonexistent/model.onnx";
    const Session session(model);
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModelUnavailable);
    EXPECT_NE(std::string(error.what()).find("/nonexistent/model.onnx"), std::string::npos);
  }
}

TEST_F(OrtApiTest, AnotherLibraryIsRefusedOnceOneIsLoaded) {
  EXPECT_THROW(LoadOnnxRuntime("/nonexistent/libonnxruntime.so", 1), Error);
  EXPECT_EQ(LoadOnnxRuntime(library_, 1), version_);
}

TEST(LayerName, HasOneNumber) {
  EXPECT_EQ(LayerName("past.%d.key", 12), "past.12.key");
  EXPECT_THROW(LayerName("past.key", 1), Error);
  EXPECT_THROW(LayerName("past.%d.%s", 1), Error);
}

TEST(KvCache, EveryRowHasASparePositionAndStartsOnAPage) {
  for (const int context : {15, 16, 100}) {
    const KvCache cache(4, 3, 2, 64, context);
    EXPECT_GT(cache.positions(), context);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(cache.Row(3, 2)) % 4096, 0U);
  }
}

TEST(KvCache, MovingCopiesTheUsedPartOfEveryHead) {
  KvCache cache(2, 2, 2, 16, 100);
  const auto head = static_cast<std::size_t>(cache.positions()) * 16;
  for (int buffer = 0; buffer < 2; ++buffer) {
    for (int i = 0; i < 2; ++i) {
      cache.Row(buffer, 1)[i * head + 9 * 16 + 15] = static_cast<float>(10 * buffer + i + 1);
      cache.Row(buffer, 1)[i * head + 10 * 16] = 99.0F;
    }
  }
  cache.Move(1, 0, 10);
  for (int buffer = 0; buffer < 2; ++buffer) {
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(cache.Row(buffer, 0)[i * head + 9 * 16 + 15], 10 * buffer + i + 1);
      EXPECT_EQ(cache.Row(buffer, 0)[i * head + 10 * 16], 0.0F);
    }
  }
}

TEST(KvCache, MemoryIsCountedAsItIsUsedAndGivenBack) {
  KvCache cache(2, 4, 3, 64, 1000);
  EXPECT_EQ(cache.CommittedBytes(), 0U);
  cache.Touch(1, 1);
  EXPECT_EQ(cache.CommittedBytes(), 2U * 3U * 4096U);
  cache.Touch(1, 16);
  EXPECT_EQ(cache.CommittedBytes(), 2U * 3U * 4096U);
  cache.Touch(1, 17);
  EXPECT_EQ(cache.CommittedBytes(), 2U * 3U * 8192U);
  cache.Row(0, 1)[0] = 5.0F;
  cache.Release(1);
  EXPECT_EQ(cache.CommittedBytes(), 0U);
  EXPECT_EQ(cache.Row(0, 1)[0], 0.0F) << "the page was not given back";
}

}  // namespace
}  // namespace llmrouter::ort
