#include "ort/session.h"

#include <filesystem>

#include "ort/cuda_provider.h"
#include "ort/runtime.h"

namespace llmrouter::ort {
namespace {

SessionOptionsPtr MakeOptions() {
  const Api& api = GetApi();
  auto options = Create<SessionOptionsPtr>(kCreateSessionOptions);
  Check(api(kDisablePerSessionThreads, options.get()));
  Check(api(kSetSessionLogSeverityLevel, options.get(), kLogFatal));
  Check(api(kSetGraphOptimizationLevel, options.get(), kOptimizeAll));
  // Shapes change with every step: the arena and the memory pattern would keep the memory of each
  // (onnxruntime#22271).
  Check(api(kDisableCpuMemArena, options.get()));
  Check(api(kDisableMemPattern, options.get()));
  Check(api(kAddSessionConfigEntry, options.get(), "session.use_env_allocators", "1"));
  Check(api(kAddSessionConfigEntry, options.get(), "session.force_spinning_stop", "1"));
  return options;
}

std::vector<std::int64_t> ReadShape(const OrtTensorInfo* info) {
  std::size_t rank = 0;
  Check(GetApi()(kGetDimensionsCount, info, &rank));
  std::vector<std::int64_t> shape(rank);
  Check(GetApi()(kGetDimensions, info, shape.data(), rank));
  return shape;
}

TensorDescription Describe(std::string name, const TypeInfoPtr& type_info) {
  TensorDescription description{std::move(name), 0, {}};
  const OrtTensorInfo* info = nullptr;
  Check(GetApi()(kCastToTensorInfo, type_info.get(), &info));
  if (info == nullptr) return description;  // Not a tensor: type 0 matches no contract.
  Check(GetApi()(kGetTensorElementType, info, &description.type));
  description.shape = ReadShape(info);
  return description;
}

template <typename CountEntry, typename NameEntry, typename TypeEntry>
std::vector<TensorDescription> DescribeAll(const OrtSession* session, CountEntry get_count,
                                           NameEntry get_name, TypeEntry get_type) {
  const Api& api = GetApi();
  OrtAllocator* allocator = nullptr;
  Check(api(kGetDefaultAllocator, &allocator));
  std::size_t count = 0;
  Check(api(get_count, session, &count));
  std::vector<TensorDescription> descriptions;
  for (std::size_t i = 0; i < count; ++i) {
    char* raw_name = nullptr;
    Check(api(get_name, session, i, allocator, &raw_name));
    std::string name = raw_name;
    Check(api(kAllocatorFree, allocator, raw_name));
    descriptions.push_back(Describe(std::move(name), Create<TypeInfoPtr>(get_type, session, i)));
  }
  return descriptions;
}

template <typename T>
constexpr int kElementType = 0;
template <>
constexpr int kElementType<float> = kTypeFloat;
template <>
constexpr int kElementType<std::int64_t> = kTypeInt64;

}  // namespace

Session::Session(const OrtModel& model, const PackedStep* step)
    : memory_(std::make_unique<MemoryBudget>(model.memory_limit)) {
  const MemoryBudget::Scope counted(memory_.get());
  const SessionOptionsPtr options = MakeOptions();
  if (model.cuda_device >= 0) AppendCuda(options.get(), model.cuda_device);
  if (model.graph.empty()) {
    session_ = Create<SessionPtr>(kCreateSession, GetEnv(), model.path.c_str(), options.get());
  } else {
    const std::string folder = std::filesystem::path(model.path).parent_path().string();
    Check(GetApi()(kAddSessionConfigEntry, options.get(),
                   "session.model_external_initializers_file_folder_path", folder.c_str()));
    domain_ = std::make_unique<OperatorDomain>(model, step);
    Check(GetApi()(kAddCustomOpDomain, options.get(), domain_->get()));
    session_ = Create<SessionPtr>(kCreateSessionFromArray, GetEnv(), model.graph.data(),
                                  model.graph.size(), options.get());
  }
  Describe();
}

void Session::Describe() {
  inputs_ = DescribeAll(session_.get(), kSessionGetInputCount, kSessionGetInputName,
                        kSessionGetInputTypeInfo);
  outputs_ = DescribeAll(session_.get(), kSessionGetOutputCount, kSessionGetOutputName,
                         kSessionGetOutputTypeInfo);
  optional_inputs_ =
      DescribeAll(session_.get(), kSessionGetOverridableInitializerCount,
                  kSessionGetOverridableInitializerName, kSessionGetOverridableInitializerTypeInfo);
}

const OrtMemoryInfo* CpuMemory() {
  static const OrtMemoryInfo* const memory =
      Create<MemoryInfoPtr>(kCreateCpuMemoryInfo, kDeviceAllocator, kMemoryDefault).release();
  return memory;
}

ValuePtr WrapMemory(const OrtMemoryInfo* where, void* data, std::size_t bytes,
                    std::span<const std::int64_t> shape, int type) {
  return Create<ValuePtr>(kCreateTensorWithData, where, data, bytes, shape.data(), shape.size(),
                          type);
}

template <typename T>
ValuePtr WrapTensor(T* data, std::span<const std::int64_t> shape) {
  std::size_t bytes = sizeof(T);
  for (const std::int64_t dimension : shape) bytes *= static_cast<std::size_t>(dimension);
  return WrapMemory(CpuMemory(), data, bytes, shape, kElementType<T>);
}

template ValuePtr WrapTensor<float>(float*, std::span<const std::int64_t>);
template ValuePtr WrapTensor<std::int64_t>(std::int64_t*, std::span<const std::int64_t>);

std::vector<std::int64_t> ShapeOf(const OrtValue* value) {
  return ReadShape(Create<TensorInfoPtr>(kGetTensorTypeAndShape, value).get());
}

}  // namespace llmrouter::ort
