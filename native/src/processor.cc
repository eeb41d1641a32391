#include "llmrouter/processor.h"

namespace llmrouter {

Processor DetectProcessor() {
#if defined(__x86_64__)
  return {
      .avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
              __builtin_cpu_supports("f16c") != 0,
      .vnni = __builtin_cpu_supports("avx512vnni") != 0 || __builtin_cpu_supports("avxvnni") != 0,
      .avx512_vnni = __builtin_cpu_supports("avx512bw") != 0 &&
                     __builtin_cpu_supports("avx512vl") != 0 &&
                     __builtin_cpu_supports("avx512vnni") != 0,
  };
#else
  return {};
#endif
}

}  // namespace llmrouter
