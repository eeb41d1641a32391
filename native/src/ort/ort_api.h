#pragma once

// The part of ONNX Runtime's C interface that the engine uses, declared here so that building needs
// no ONNX Runtime headers. OrtApi is an append-only table of functions: a position never changes
// its meaning. Positions and signatures are those of the published header (API version 20 has them
// all); a test pins them against the installed library.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace llmrouter::ort {

struct OrtCustomOp;  // custom_op.h
struct OrtCustomOpDomain;
struct OrtCudaOptions;  // OrtCUDAProviderOptionsV2
struct OrtEnv;
struct OrtIoBinding;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtMemoryInfo;
struct OrtRunOptions;
struct OrtSession;
struct OrtSessionOptions;
struct OrtStatus;
struct OrtTensorInfo;  // OrtTensorTypeAndShapeInfo
struct OrtThreadingOptions;
struct OrtTypeInfo;
struct OrtValue;

/// Memory for tensors. Only grows at its end; what stands behind these came later than its version.
struct OrtAllocator {
  std::uint32_t version;
  void* (*allocate)(OrtAllocator* self, std::size_t bytes);
  void (*free)(OrtAllocator* self, void* data);
  const OrtMemoryInfo* (*info)(const OrtAllocator* self);
};

/// What `OrtGetApiBase` returns.
struct OrtApiBase {
  void* const* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

inline constexpr std::uint32_t kApiVersion = 20;
/// The last whose OrtAllocator has no more members than ours.
inline constexpr std::uint32_t kAllocatorVersion = 17;

// Values of the interface's enums.
inline constexpr int kTypeFloat = 1;
inline constexpr int kTypeInt64 = 7;
inline constexpr int kTypeFloat16 = 10;
inline constexpr int kTypeBfloat16 = 16;
inline constexpr int kDeviceAllocator = 0;
inline constexpr int kMemoryDefault = 0;
inline constexpr int kOptimizeAll = 99;
inline constexpr int kLogFatal = 4;
inline constexpr int kErrorFail = 1;

/// A function of the table: its position and, as the type, its signature.
template <typename Signature, int kPosition>
struct Entry {};

template <typename... Parameters>
using Call = OrtStatus*(Parameters...);
template <typename T>
using ReleaseCall = void(T*);

inline constexpr Entry<OrtStatus*(int, const char*), 0> kCreateStatus;
inline constexpr Entry<const char*(const OrtStatus*), 2> kGetErrorMessage;
inline constexpr Entry<Call<const OrtEnv*, const char*, const OrtSessionOptions*, OrtSession**>, 7>
    kCreateSession;
inline constexpr Entry<
    Call<const OrtEnv*, const void*, std::size_t, const OrtSessionOptions*, OrtSession**>, 8>
    kCreateSessionFromArray;
inline constexpr Entry<
    Call<OrtSession*, const OrtRunOptions*, const char* const*, const OrtValue* const*, std::size_t,
         const char* const*, std::size_t, OrtValue**>,
    9>
    kRun;
inline constexpr Entry<Call<OrtSessionOptions**>, 10> kCreateSessionOptions;
inline constexpr Entry<Call<OrtSessionOptions*>, 17> kDisableMemPattern;
inline constexpr Entry<Call<OrtSessionOptions*>, 19> kDisableCpuMemArena;
inline constexpr Entry<Call<OrtSessionOptions*, int>, 22> kSetSessionLogSeverityLevel;
inline constexpr Entry<Call<OrtSessionOptions*, int>, 23> kSetGraphOptimizationLevel;
inline constexpr Entry<Call<const char*, OrtCustomOpDomain**>, 26> kCreateCustomOpDomain;
inline constexpr Entry<Call<OrtCustomOpDomain*, const OrtCustomOp*>, 27> kCustomOpDomainAdd;
inline constexpr Entry<Call<OrtSessionOptions*, OrtCustomOpDomain*>, 28> kAddCustomOpDomain;
inline constexpr Entry<Call<const OrtSession*, std::size_t*>, 30> kSessionGetInputCount;
inline constexpr Entry<Call<const OrtSession*, std::size_t*>, 31> kSessionGetOutputCount;
inline constexpr Entry<Call<const OrtSession*, std::size_t*>, 32>
    kSessionGetOverridableInitializerCount;
inline constexpr Entry<Call<const OrtSession*, std::size_t, OrtTypeInfo**>, 33>
    kSessionGetInputTypeInfo;
inline constexpr Entry<Call<const OrtSession*, std::size_t, OrtTypeInfo**>, 34>
    kSessionGetOutputTypeInfo;
inline constexpr Entry<Call<const OrtSession*, std::size_t, OrtTypeInfo**>, 35>
    kSessionGetOverridableInitializerTypeInfo;
inline constexpr Entry<Call<const OrtSession*, std::size_t, OrtAllocator*, char**>, 36>
    kSessionGetInputName;
inline constexpr Entry<Call<const OrtSession*, std::size_t, OrtAllocator*, char**>, 37>
    kSessionGetOutputName;
inline constexpr Entry<Call<const OrtSession*, std::size_t, OrtAllocator*, char**>, 38>
    kSessionGetOverridableInitializerName;
inline constexpr Entry<Call<OrtRunOptions**>, 39> kCreateRunOptions;
/// Ends what runs with the options, on any thread.
inline constexpr Entry<Call<OrtRunOptions*>, 46> kRunOptionsSetTerminate;
inline constexpr Entry<Call<const OrtMemoryInfo*, void*, std::size_t, const std::int64_t*,
                            std::size_t, int, OrtValue**>,
                       49>
    kCreateTensorWithData;
inline constexpr Entry<Call<OrtValue*, void**>, 51> kGetTensorMutableData;
inline constexpr Entry<Call<const OrtTypeInfo*, const OrtTensorInfo**>, 55> kCastToTensorInfo;
inline constexpr Entry<Call<const OrtTensorInfo*, int*>, 60> kGetTensorElementType;
inline constexpr Entry<Call<const OrtTensorInfo*, std::size_t*>, 61> kGetDimensionsCount;
inline constexpr Entry<Call<const OrtTensorInfo*, std::int64_t*, std::size_t>, 62> kGetDimensions;
inline constexpr Entry<Call<const OrtValue*, OrtTensorInfo**>, 65> kGetTensorTypeAndShape;
inline constexpr Entry<Call<const char*, int, int, int, OrtMemoryInfo**>, 68> kCreateMemoryInfo;
inline constexpr Entry<Call<int, int, OrtMemoryInfo**>, 69> kCreateCpuMemoryInfo;
inline constexpr Entry<Call<OrtAllocator*, std::size_t, void**>, 75> kAllocatorAlloc;
inline constexpr Entry<Call<OrtAllocator*, void*>, 76> kAllocatorFree;
inline constexpr Entry<Call<OrtAllocator**>, 78> kGetDefaultAllocator;
inline constexpr Entry<Call<const OrtKernelInfo*, const char*, float*>, 85> kKernelInfoGetFloat;
inline constexpr Entry<Call<const OrtKernelInfo*, const char*, std::int64_t*>, 86>
    kKernelInfoGetInt64;
inline constexpr Entry<Call<const OrtKernelContext*, std::size_t, const OrtValue**>, 90>
    kKernelContextGetInput;
inline constexpr Entry<
    Call<OrtKernelContext*, std::size_t, const std::int64_t*, std::size_t, OrtValue**>, 91>
    kKernelContextGetOutput;
inline constexpr Entry<ReleaseCall<OrtStatus>, 93> kReleaseStatus;
inline constexpr Entry<Call<int, const char*, const OrtThreadingOptions*, OrtEnv**>, 119>
    kCreateEnvWithGlobalThreadPools;
inline constexpr Entry<Call<OrtSessionOptions*>, 120> kDisablePerSessionThreads;
inline constexpr Entry<Call<OrtThreadingOptions**>, 121> kCreateThreadingOptions;
inline constexpr Entry<Call<OrtSessionOptions*, const char*, const char*>, 130>
    kAddSessionConfigEntry;
inline constexpr Entry<Call<char***, int*>, 125> kGetAvailableProviders;
inline constexpr Entry<Call<char**, int>, 126> kReleaseAvailableProviders;
inline constexpr Entry<Call<const OrtSession*, const OrtMemoryInfo*, OrtAllocator**>, 131>
    kCreateAllocator;
inline constexpr Entry<Call<OrtSession*, const OrtRunOptions*, const OrtIoBinding*>, 133>
    kRunWithBinding;
inline constexpr Entry<Call<OrtSession*, OrtIoBinding**>, 134> kCreateIoBinding;
inline constexpr Entry<Call<OrtIoBinding*, const char*, const OrtValue*>, 136> kBindInput;
inline constexpr Entry<Call<OrtIoBinding*, const char*, const OrtValue*>, 137> kBindOutput;
inline constexpr Entry<Call<OrtIoBinding*, const char*, const OrtMemoryInfo*>, 138>
    kBindOutputToDevice;
/// The values and the array that holds them are the caller's to free.
inline constexpr Entry<Call<const OrtIoBinding*, OrtAllocator*, OrtValue***, std::size_t*>, 140>
    kGetBoundOutputValues;
inline constexpr Entry<Call<OrtThreadingOptions*, int>, 147> kSetGlobalIntraOpThreads;
inline constexpr Entry<Call<OrtThreadingOptions*, int>, 148> kSetGlobalInterOpThreads;
inline constexpr Entry<Call<OrtThreadingOptions*, int>, 149> kSetGlobalSpinControl;
/// The allocator outlives the environment.
inline constexpr Entry<Call<OrtEnv*, OrtAllocator*>, 176> kRegisterAllocator;
inline constexpr Entry<Call<OrtIoBinding*>, 202> kSynchronizeBoundInputs;
inline constexpr Entry<Call<OrtSessionOptions*, const OrtCudaOptions*>, 204>
    kAppendExecutionProviderCuda;
inline constexpr Entry<Call<OrtCudaOptions**>, 205> kCreateCudaOptions;
inline constexpr Entry<Call<OrtCudaOptions*, const char* const*, const char* const*, std::size_t>,
                       206>
    kUpdateCudaOptions;
/// Calls the function for each of `total` numbers on the session's threads; `batches` of 0 leaves
/// the grouping to the library.
inline constexpr Entry<
    Call<const OrtKernelContext*, void (*)(void*, std::size_t), std::size_t, std::size_t, void*>,
    274>
    kKernelContextParallelFor;

/// The table of the loaded library.
class Api {
 public:
  explicit Api(void* const* table) : table_(table) {}

  template <typename R, typename... P, int kPosition, typename... A>
  R operator()(Entry<R(P...), kPosition> /*entry*/, A&&... arguments) const {
    return reinterpret_cast<R (*)(P...)>(table_[kPosition])(std::forward<A>(arguments)...);
  }

 private:
  void* const* table_;
};

/// The table of the library that `LoadOnnxRuntime` opened. Throws kModelUnavailable before that.
const Api& GetApi();

/// Throws `Error` with kModelUnavailable and the library's message unless `status` is null.
void Check(OrtStatus* status);

/// Takes the message of a failed call and frees its status.
std::string TakeMessage(OrtStatus* status);

template <typename T, int kPosition>
struct Release {
  void operator()(T* object) const { GetApi()(Entry<ReleaseCall<T>, kPosition>{}, object); }
};

using EnvPtr = std::unique_ptr<OrtEnv, Release<OrtEnv, 92>>;
using MemoryInfoPtr = std::unique_ptr<OrtMemoryInfo, Release<OrtMemoryInfo, 94>>;
using SessionPtr = std::unique_ptr<OrtSession, Release<OrtSession, 95>>;
using ValuePtr = std::unique_ptr<OrtValue, Release<OrtValue, 96>>;
using RunOptionsPtr = std::unique_ptr<OrtRunOptions, Release<OrtRunOptions, 97>>;
using TypeInfoPtr = std::unique_ptr<OrtTypeInfo, Release<OrtTypeInfo, 98>>;
using TensorInfoPtr = std::unique_ptr<OrtTensorInfo, Release<OrtTensorInfo, 99>>;
using SessionOptionsPtr = std::unique_ptr<OrtSessionOptions, Release<OrtSessionOptions, 100>>;
using CustomOpDomainPtr = std::unique_ptr<OrtCustomOpDomain, Release<OrtCustomOpDomain, 101>>;
using AllocatorPtr = std::unique_ptr<OrtAllocator, Release<OrtAllocator, 132>>;
using BindingPtr = std::unique_ptr<OrtIoBinding, Release<OrtIoBinding, 135>>;
using CudaOptionsPtr = std::unique_ptr<OrtCudaOptions, Release<OrtCudaOptions, 208>>;
using ThreadingOptionsPtr = std::unique_ptr<OrtThreadingOptions, Release<OrtThreadingOptions, 122>>;

/// Calls a `Create…` function whose last parameter receives the object, and owns that.
template <typename Pointer, typename EntryType, typename... A>
Pointer Create(EntryType entry, A&&... arguments) {
  typename Pointer::pointer object = nullptr;
  Check(GetApi()(entry, std::forward<A>(arguments)..., &object));
  return Pointer(object);
}

}  // namespace llmrouter::ort
