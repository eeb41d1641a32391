#pragma once

#include <string>

#include "ort/ort_api.h"

namespace llmrouter::ort {

/// The process's one environment, with the thread pool all sessions share.
const OrtEnv* GetEnv();

}  // namespace llmrouter::ort
