#include "ort/runtime.h"

#include <dlfcn.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "llmrouter/error.h"
#include "llmrouter/ort_decoder.h"
#include "ort/memory_budget.h"

namespace llmrouter::ort {
namespace {

[[noreturn]] void Unavailable(const std::string& message) {
  throw Error(ErrorCode::kModelUnavailable, message);
}

/// The loaded library. Lives as long as the process: sessions may end after static objects do.
struct Runtime {
  std::string library;
  std::string version;
  Api api;
  OrtEnv* env = nullptr;
};

std::mutex load_mutex;
std::atomic<const Runtime*> runtime = nullptr;
/// Set while the environment is being made, when `runtime` is not complete yet.
std::atomic<const Api*> loading_api = nullptr;

const OrtApiBase* OpenLibrary(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) Unavailable("cannot open ONNX Runtime: " + std::string(dlerror()));
  void* symbol = dlsym(handle, "OrtGetApiBase");
  if (symbol == nullptr) Unavailable(library + " is not ONNX Runtime: it lacks OrtGetApiBase");
  return reinterpret_cast<const OrtApiBase* (*)()>(symbol)();
}

OrtEnv* MakeEnv(int threads) {
  const Api& api = GetApi();
  const auto options = Create<ThreadingOptionsPtr>(kCreateThreadingOptions);
  Check(api(kSetGlobalIntraOpThreads, options.get(), threads));
  Check(api(kSetGlobalInterOpThreads, options.get(), 1));
  // Spinning keeps the pool awake between the small kernels of a step; sessions end it with the
  // step (session.force_spinning_stop), so that an idle process stays idle.
  Check(api(kSetGlobalSpinControl, options.get(), 1));
  auto env = Create<EnvPtr>(kCreateEnvWithGlobalThreadPools, kLogFatal, "llmrouter", options.get());
  RegisterCountingAllocator(env.get());
  return env.release();
}

std::unique_ptr<Runtime> Load(const std::string& library, int threads) {
  const OrtApiBase* base = OpenLibrary(library);
  void* const* table = base->get_api(kApiVersion);
  if (table == nullptr) {
    Unavailable("ONNX Runtime " + std::string(base->get_version()) + " is too old: version 1.20 " +
                "or later is needed");
  }
  auto loaded = std::make_unique<Runtime>(Runtime{library, base->get_version(), Api(table)});
  loading_api = &loaded->api;
  try {
    loaded->env = MakeEnv(threads);
  } catch (...) {
    loading_api = nullptr;
    throw;
  }
  return loaded;
}

}  // namespace

const Api& GetApi() {
  const Api* api = loading_api;
  if (api == nullptr) Unavailable("ONNX Runtime has not been loaded");
  return *api;
}

const OrtEnv* GetEnv() {
  const Runtime* loaded = runtime;
  if (loaded == nullptr) Unavailable("ONNX Runtime has not been loaded");
  return loaded->env;
}

std::string TakeMessage(OrtStatus* status) {
  const std::string message = GetApi()(kGetErrorMessage, status);
  GetApi()(kReleaseStatus, status);
  return message;
}

void Check(OrtStatus* status) {
  if (status != nullptr) Unavailable(TakeMessage(status));
}

}  // namespace llmrouter::ort

namespace llmrouter {

std::string LoadOnnxRuntime(const std::string& library, int threads) {
  const std::lock_guard lock(ort::load_mutex);
  const ort::Runtime* loaded = ort::runtime;
  if (loaded == nullptr) {
    loaded = ort::Load(library, threads).release();
    ort::runtime = loaded;
  } else if (loaded->library != library) {
    ort::Unavailable("this process already runs " + loaded->library + ", it cannot open " +
                     library);
  }
  return loaded->version;
}

std::vector<std::string> AvailableProviders() {
  char** names = nullptr;
  int count = 0;
  ort::Check(ort::GetApi()(ort::kGetAvailableProviders, &names, &count));
  std::vector<std::string> providers(names, names + count);
  ort::Check(ort::GetApi()(ort::kReleaseAvailableProviders, names, count));
  return providers;
}

}  // namespace llmrouter
