#include "llguidance/library.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>

#include "llmrouter/error.h"
#include "symbol.h"

namespace llmrouter::llguidance {
namespace {

constexpr std::string_view kKnownVersion = "llguidance@1.9.";

[[noreturn]] void Unavailable(const std::string& message) {
  throw Error(ErrorCode::kModelUnavailable, message);
}

Api FindAll(void* handle) {
  Api api{};
  const auto find = [handle](const char* name, auto* function) {
    FindSymbol(handle, "this llguidance, which is not the pinned version,", name, function);
  };
  find("llg_get_version", &api.get_version);
  find("llg_constraint_init_set_defaults", &api.constraint_init_set_defaults);
  find("llg_new_tokenizer_v2", &api.new_tokenizer_v2);
  find("llg_free_tokenizer", &api.free_tokenizer);
  find("llg_new_matcher", &api.new_matcher);
  find("llg_clone_matcher", &api.clone_matcher);
  find("llg_free_matcher", &api.free_matcher);
  find("llg_matcher_get_error", &api.matcher_get_error);
  find("llg_matcher_consume_token", &api.matcher_consume_token);
  find("llg_matcher_compute_mask_into", &api.matcher_compute_mask_into);
  find("llg_matcher_get_mask_byte_size", &api.matcher_get_mask_byte_size);
  return api;
}

/// The struct has no size of its own to negotiate: see that the defaults come to lie in the fields
/// that we know, and nothing behind them.
void CheckLayout(const Api& api) {
  constexpr unsigned char kUntouched = 0xA5;
  struct {
    ConstraintInit init;
    std::array<unsigned char, 1024> behind;
  } probe;
  probe.behind.fill(kUntouched);
  api.constraint_init_set_defaults(&probe.init, nullptr);
  const ParserLimits& limits = probe.init.limits;
  bool known = limits.max_items_in_row == 2000 && limits.initial_lexer_fuel == 1'000'000 &&
               limits.step_lexer_fuel == 200'000 && limits.step_max_items == 50'000 &&
               limits.max_lexer_states == 250'000 && limits.max_grammar_size == 500'000;
  for (const unsigned char byte : probe.behind) known = known && byte == kUntouched;
  if (!known) Unavailable("this llguidance lays its options out otherwise; install version 1.9.1");
}

std::unique_ptr<const Api> Load(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) Unavailable("cannot open llguidance: " + std::string(dlerror()));
  auto api = std::make_unique<const Api>(FindAll(handle));
  const std::string_view version = api->get_version();
  if (!version.starts_with(kKnownVersion)) {
    Unavailable("the library says it is " + std::string(version) + "; llguidance 1.9 is needed");
  }
  CheckLayout(*api);
  return api;
}

}  // namespace

const Api& Open(const std::string& library) {
  static std::mutex mutex;
  // Never freed: grammars may end after static objects do.
  static auto& opened = *new std::map<std::string, std::unique_ptr<const Api>>;
  const std::lock_guard lock(mutex);
  auto found = opened.find(library);
  if (found == opened.end()) found = opened.emplace(library, Load(library)).first;
  return *found->second;
}

}  // namespace llmrouter::llguidance
