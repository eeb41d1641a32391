// Prints what products with quantised matrices reach on one thread, in 1e9
// multiplications with their additions per second: `name value` lines.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/block_matmul.h"
#include "llmrouter/processor.h"

namespace {

using namespace llmrouter::kernels;

constexpr double kSecondsEach = 0.15;

PackedMatrix RandomMatrix(const MatrixShape& shape) {
  std::mt19937 random(1);
  std::vector<std::uint8_t> data(static_cast<std::size_t>(kPanelColumns) * shape.ColumnBytes());
  for (auto& byte : data) byte = static_cast<std::uint8_t>(random());
  const std::vector<float> scales(static_cast<std::size_t>(kPanelColumns * shape.Blocks()), 0.01F);
  PackedMatrix matrix(shape);
  for (int panel = 0; panel < shape.Panels(); ++panel) {
    matrix.Pack(panel, {data.data(), scales.data(), nullptr});
  }
  return matrix;
}

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Measure(const PackedMatrix& matrix, int rows, Path path) {
  const MatrixShape& shape = matrix.shape();
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> source(static_cast<std::size_t>(rows) * static_cast<std::size_t>(shape.depth));
  for (auto& value : source) value = normal(random);
  std::vector<float> target(static_cast<std::size_t>(rows) *
                            static_cast<std::size_t>(shape.columns));
  QuantisedRows quantised;
  const double each = static_cast<double>(rows) * shape.depth * shape.columns;
  double done = 0;
  const double begin = CpuSeconds();
  double seconds = 0;
  while (seconds < kSecondsEach) {
    quantised.Assign(source.data(), rows, shape.depth);
    Multiply(quantised, matrix, 0, shape.Panels(), target.data(), path);
    done += each;
    seconds = CpuSeconds() - begin;
  }
  return done / seconds / 1e9;
}

}  // namespace

int main() {
  const llmrouter::Processor processor = llmrouter::DetectProcessor();
  std::vector<std::pair<Path, const char*>> paths;
  if (processor.avx2) paths.emplace_back(Path::kAvx2, "avx2");
  if (processor.avx512_vnni) paths.emplace_back(Path::kVnni, "vnni");
  for (const int bits : {8, 4}) {
    // A layer's matrices lie in the second-level cache, the head in memory.
    for (const auto& [name, depth, columns] :
         {std::tuple{"layer", 576, 1536}, std::tuple{"head", 576, 49152}}) {
      const PackedMatrix matrix = RandomMatrix({columns, depth, bits, false});
      for (const int rows : {1, 4, 16, 128}) {
        for (const auto& [path, path_name] : paths) {
          std::printf("gmacs_%s_%dbit_%drows_%s %.1f\n", name, bits, rows, path_name,
                      Measure(matrix, rows, path));
        }
      }
    }
  }
}
