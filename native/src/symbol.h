#pragma once

#include <dlfcn.h>

#include <string>

#include "llmrouter/error.h"

namespace llmrouter {

/// Points `function` to what an opened library calls `name`. Throws kModelUnavailable: `library`
/// lacks it.
template <typename Function>
void FindSymbol(void* handle, const char* library, const char* name, Function* function) {
  void* symbol = dlsym(handle, name);
  if (symbol == nullptr) {
    throw Error(ErrorCode::kModelUnavailable, std::string(library) + " lacks " + name);
  }
  *function = reinterpret_cast<Function>(symbol);
}

}  // namespace llmrouter
