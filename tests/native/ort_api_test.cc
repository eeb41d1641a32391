#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>

#include "llmrouter/ort_decoder.h"
#include "ort/contract.h"
#include "ort/cuda_runtime.h"
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

TEST_F(OrtApiTest, TheProcessorIsAlwaysThereToCompute) {
  const std::vector<std::string> providers = AvailableProviders();
  EXPECT_NE(std::ranges::find(providers, "CPUExecutionProvider"), providers.end());
}

TEST_F(OrtApiTest, ALibraryWithoutCudaSaysSo) {
  const std::vector<std::string> providers = AvailableProviders();
  if (std::ranges::find(providers, "CUDAExecutionProvider") != providers.end()) {
    GTEST_SKIP() << "this library has CUDA";
  }
  OrtModel model;
  model.path = "/nonexistent/model.onnx";
  model.cuda_device = 0;
  try {
    const Session session(model);
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModelUnavailable);
    EXPECT_NE(std::string(error.what()).find("CUDA"), std::string::npos) << error.what();
  }
}

TEST(CudaRuntimeTest, IsNotOpenedHere) {
  try {
    FindCudaRuntime();
    GTEST_SKIP() << "CUDA's runtime is open";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModelUnavailable);
    EXPECT_NE(std::string(error.what()).find("libcudart"), std::string::npos);
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

}  // namespace
}  // namespace llmrouter::ort
