#pragma once

namespace llmrouter {

/// What the processor (and its operating system) can run, as far as kernels are chosen by it.
struct Processor {
  /// AVX2, FMA and F16C: the engine's own kernels run.
  bool avx2 = false;
  /// Dot products of bytes in one instruction, of either width: ONNX Runtime's kernels are at their
  /// best.
  bool vnni = false;
  /// The same with registers of 512 bits: our own kernels have it too.
  bool avx512_vnni = false;
};

/// The processor of this machine.
Processor DetectProcessor();

}  // namespace llmrouter
