#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/block_matmul.h"
#include "llmrouter/ort_decoder.h"

namespace llmrouter::ort {

/// The matrices of a model in the order of the kernels, in a file that every process maps: what two
/// replicas read from it lies in memory once. Other than the files of models it is written here and
/// never changed, so that mapping it is safe.
class PackedFile {
 public:
  /// As `FindSharedWeights`, and null where it finds nothing.
  static std::shared_ptr<const PackedFile> Find(const std::string& path,
                                                const std::vector<NativeMatrix>& matrices);
  /// As `WriteSharedWeights`, and null where the disk refuses. Meanwhile it lies, locked by
  /// flock(2), in a file beside it whose name ends in `.new`.
  static std::shared_ptr<const PackedFile> Write(const std::string& path,
                                                 const std::vector<NativeMatrix>& matrices);

  /// Whether these matrices, by their shapes, lie in the file.
  bool Holds(const std::vector<NativeMatrix>& matrices) const;

  /// A matrix that lies in the file, which stays mapped as long as it lives.
  kernels::PackedMatrix Matrix(std::size_t index) const;

 private:
  struct Layout {
    std::vector<kernels::MatrixShape> shapes;
    std::vector<std::size_t> offsets;
    std::size_t bytes = 0;
  };

  PackedFile(std::shared_ptr<std::byte> memory, Layout layout);

  static Layout LayOut(const std::vector<NativeMatrix>& matrices);
  /// Null where there is none, or not a whole one.
  static std::shared_ptr<const PackedFile> Map(const std::string& path, Layout layout);
  /// False where the disk refuses.
  static bool Fill(int file, const std::vector<NativeMatrix>& matrices, const Layout& layout);

  std::shared_ptr<std::byte> memory_;
  Layout layout_;
};

}  // namespace llmrouter::ort
