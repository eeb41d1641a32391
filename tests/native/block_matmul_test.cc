#include "kernels/block_matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "llmrouter/processor.h"

namespace llmrouter::kernels {
namespace {

/// A matrix as MatMulNBits has it.
struct Source {
  MatrixShape shape;
  std::vector<std::uint8_t> data;
  std::vector<float> scales;
  std::vector<std::uint8_t> zero_points;

  int Value(const std::vector<std::uint8_t>& packed, std::size_t row_bytes, int column,
            int index) const {
    const std::uint8_t* row = packed.data() + static_cast<std::size_t>(column) * row_bytes;
    if (shape.bits == 8) return row[index];
    return index % 2 == 0 ? row[index / 2] & 15 : row[index / 2] >> 4;
  }
  int Weight(int column, int depth) const {
    const int zero = shape.zero_points
                         ? Value(zero_points, shape.ColumnZeroBytes(), column, depth / kBlock)
                         : 1 << (shape.bits - 1);
    return Value(data, shape.ColumnBytes(), column, depth) - zero;
  }
};

Source RandomSource(const MatrixShape& shape, unsigned seed) {
  std::mt19937 random(seed);
  Source source{shape, {}, {}, {}};
  const auto columns = static_cast<std::size_t>(shape.columns);
  source.data.resize(columns * shape.ColumnBytes());
  source.zero_points.resize(columns * shape.ColumnZeroBytes());
  for (auto& byte : source.data) byte = static_cast<std::uint8_t>(random());
  for (auto& byte : source.zero_points) byte = static_cast<std::uint8_t>(random());
  std::uniform_real_distribution<float> scale(0.001F, 0.1F);
  source.scales.resize(columns * static_cast<std::size_t>(shape.Blocks()));
  for (auto& one : source.scales) one = scale(random);
  return source;
}

PackedMatrix Pack(const Source& source) {
  PackedMatrix packed(source.shape);
  for (int panel = 0; panel < source.shape.Panels(); ++panel) {
    const auto column = static_cast<std::size_t>(panel * kPanelColumns);
    packed.Pack(panel, {source.data.data() + column * source.shape.ColumnBytes(),
                        source.scales.data() + column * source.shape.Blocks(),
                        source.zero_points.data() + column * source.shape.ColumnZeroBytes()});
  }
  return packed;
}

std::vector<float> RandomRows(int rows, int depth, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  std::vector<float> values(static_cast<std::size_t>(rows) * static_cast<std::size_t>(depth));
  for (auto& value : values) value = normal(random);
  return values;
}

std::vector<float> Product(const PackedMatrix& matrix, const float* source, int rows, Path path) {
  QuantisedRows quantised;
  quantised.Assign(source, rows, matrix.shape().depth);
  std::vector<float> target(static_cast<std::size_t>(rows) *
                            static_cast<std::size_t>(matrix.shape().columns));
  Multiply(quantised, matrix, 0, matrix.shape().Panels(), target.data(), path);
  return target;
}

std::vector<std::uint32_t> Bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

/// The product in double precision, of the weights and the activations as they are quantised.
double Expected(const Source& source, const QuantisedRows& rows, int row, int column) {
  double sum = 0;
  for (int i = 0; i < source.shape.depth; ++i) {
    const auto block = static_cast<std::size_t>(column) * source.shape.Blocks() + i / kBlock;
    sum += static_cast<double>(source.scales[block]) * *rows.Scales(row, i / kBlock) *
           rows.Values(row, i / kBlock)[i % kBlock] * source.Weight(column, i);
  }
  return sum;
}

std::vector<MatrixShape> Shapes() {
  std::vector<MatrixShape> shapes;
  for (const int bits : {4, 8}) {
    for (const bool zero_points : {false, true}) {
      for (const auto& [columns, depth] :
           {std::pair{1, 32}, {15, 96}, {16, 64}, {17, 32}, {100, 576}, {48, 1536}}) {
        shapes.push_back({columns, depth, bits, zero_points});
      }
    }
  }
  return shapes;
}

std::vector<Path> Paths() {
  std::vector paths{Path::kPortable};
  if (DetectProcessor().avx2) paths.push_back(Path::kAvx2);
  if (DetectProcessor().avx512_vnni) paths.push_back(Path::kVnni);
  return paths;
}

TEST(BlockMatmul, EqualsTheProductOfWhatWasQuantised) {
  for (const MatrixShape& shape : Shapes()) {
    const Source source = RandomSource(shape, 1);
    const PackedMatrix matrix = Pack(source);
    const std::vector<float> input = RandomRows(3, shape.depth, 2);
    QuantisedRows rows;
    rows.Assign(input.data(), 3, shape.depth);
    for (const Path path : Paths()) {
      const std::vector<float> result = Product(matrix, input.data(), 3, path);
      for (int row = 0; row < 3; ++row) {
        for (int column = 0; column < shape.columns; ++column) {
          const double expected = Expected(source, rows, row, column);
          EXPECT_NEAR(result[row * shape.columns + column], expected,
                      1e-4 * (1 + std::abs(expected)))
              << shape.columns << "x" << shape.depth << " at " << shape.bits << " bits";
        }
      }
    }
  }
}

TEST(BlockMatmul, ActivationsAreRoundedToTheNearestOf255Steps) {
  const std::vector<float> input = RandomRows(2, 64, 3);
  QuantisedRows rows;
  rows.Assign(input.data(), 2, 64);
  for (int row = 0; row < 2; ++row) {
    for (int i = 0; i < 64; ++i) {
      const float scale = *rows.Scales(row, i / kBlock);
      EXPECT_NEAR(rows.Values(row, i / kBlock)[i % kBlock] * scale, input[row * 64 + i],
                  0.501F * scale);
    }
  }
}

TEST(BlockMatmul, ThreadsThatShareRowsAndPanelsComputeWhatOneDoes) {
  const PackedMatrix matrix = Pack(RandomSource({100, 96, 8, false}, 10));
  const std::vector<float> input = RandomRows(40, 96, 11);
  for (const Path path : Paths()) {
    QuantisedRows rows;
    rows.Resize(40, 96);
    std::vector<float> target(std::size_t{40} * 100);
    const auto both = [](const auto& part) {
      std::jthread other([&] { part(1); });
      part(0);
    };
    both([&](int part) { rows.Fill(input.data(), 20 * part, 20 * part + 20); });
    both([&](int part) {
      Multiply(rows, matrix, 4 * part, part == 0 ? 4 : 7, target.data(), path);
    });
    EXPECT_EQ(Bits(target), Bits(Product(matrix, input.data(), 40, path)));
  }
}

TEST(BlockMatmul, RowsTakenInPartsAreThoseTakenAtOnce) {
  const std::vector<float> input = RandomRows(17, 96, 9);
  QuantisedRows whole;
  whole.Assign(input.data(), 17, 96);
  QuantisedRows parts;
  parts.Assign(input.data(), 40, 32);  // What it held before is of another shape.
  parts.Resize(17, 96);
  for (const auto& [first, last] : {std::pair{11, 17}, {0, 5}, {5, 11}, {17, 17}}) {
    parts.Fill(input.data(), first, last);
  }
  ASSERT_EQ(parts.rows(), 17);
  for (int row = 0; row < 17; ++row) {
    for (int block = 0; block < 3; ++block) {
      EXPECT_TRUE(std::equal(whole.Values(row, block), whole.Values(row, block) + kBlock,
                             parts.Values(row, block)));
      EXPECT_EQ(*whole.Scales(row, block), *parts.Scales(row, block));
      EXPECT_EQ(*whole.Sums(row, block), *parts.Sums(row, block));
    }
  }
}

TEST(BlockMatmul, ARowIsTheSameInEveryCompany) {
  for (const MatrixShape& shape : Shapes()) {
    const PackedMatrix matrix = Pack(RandomSource(shape, 4));
    const std::vector<float> input = RandomRows(17, shape.depth, 5);
    for (const Path path : Paths()) {
      for (const int rows : {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}) {
        const std::vector<float> together = Product(matrix, input.data(), rows, path);
        for (int row = 0; row < rows; ++row) {
          const auto alone = Product(matrix, input.data() + row * shape.depth, 1, path);
          const auto begin = together.begin() + row * shape.columns;
          EXPECT_EQ(Bits(alone), Bits({begin, begin + shape.columns})) << rows << " rows";
        }
      }
    }
  }
}

TEST(BlockMatmul, ThePathsAgreeInEveryBit) {
  for (const MatrixShape& shape : Shapes()) {
    const PackedMatrix matrix = Pack(RandomSource(shape, 6));
    const std::vector<float> input = RandomRows(7, shape.depth, 7);
    const auto plain = Bits(Product(matrix, input.data(), 7, Path::kPortable));
    for (const Path path : Paths()) EXPECT_EQ(Bits(Product(matrix, input.data(), 7, path)), plain);
  }
}

TEST(BlockMatmul, TheLargestWeightsAndActivationsDoNotOverflow) {
  for (const int bits : {4, 8}) {
    for (const std::uint8_t byte : {0x00, 0xff}) {
      for (const float activation : {-5.0F, 5.0F}) {
        const MatrixShape shape{16, 64, bits, true};
        Source source = RandomSource(shape, 8);
        // Zero points opposite to the weights: the widest difference.
        source.data.assign(source.data.size(), byte);
        source.zero_points.assign(source.zero_points.size(), static_cast<std::uint8_t>(~byte));
        source.scales.assign(source.scales.size(), 1.0F);
        const std::vector<float> input(64, activation);
        const float widest = (byte == 0 ? -1.0F : 1.0F) * (bits == 4 ? 15.0F : 255.0F);
        for (const Path path : Paths()) {
          for (const float result : Product(Pack(source), input.data(), 1, path)) {
            EXPECT_NEAR(result, 64 * activation * widest, 0.01F);
          }
        }
      }
    }
  }
}

TEST(BlockMatmul, NoRowsGiveNothing) {
  const PackedMatrix matrix = Pack(RandomSource({20, 64, 8, false}, 9));
  for (const Path path : Paths()) EXPECT_TRUE(Product(matrix, nullptr, 0, path).empty());
}

TEST(BlockMatmul, ZerosGiveZero) {
  const PackedMatrix matrix = Pack(RandomSource({20, 64, 8, false}, 9));
  for (const float tiny : {0.0F, -0.0F, 1e-37F, std::numeric_limits<float>::denorm_min()}) {
    const std::vector<float> input(64, tiny);
    for (const Path path : Paths()) {
      for (const float result : Product(matrix, input.data(), 1, path)) EXPECT_EQ(result, 0.0F);
    }
  }
}

TEST(BlockMatmul, WhatIsNotANumberSpoilsItsRowAndNoOther) {
  for (const int bits : {4, 8}) {
    const PackedMatrix matrix = Pack(RandomSource({20, 64, bits, false}, 10));
    for (const float broken :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      std::vector<float> input = RandomRows(3, 64, 11);
      const std::vector<float> whole = Product(matrix, input.data(), 3, BestPath());
      input[64 + 40] = broken;
      for (const Path path : Paths()) {
        const std::vector<float> result = Product(matrix, input.data(), 3, path);
        for (int i = 0; i < 60; ++i) {
          if (i / 20 == 1) {
            EXPECT_TRUE(std::isnan(result[i]));
          } else {
            EXPECT_EQ(result[i], whole[i]);
          }
        }
      }
    }
  }
}

TEST(BlockMatmul, OtherSizesAreRefused) {
  for (const MatrixShape& shape : {MatrixShape{0, 32, 8, false}, MatrixShape{16, 0, 8, false},
                                   MatrixShape{16, 48, 8, false}, MatrixShape{16, 32, 5, false}}) {
    EXPECT_THROW(PackedMatrix{shape}, std::invalid_argument);
  }
}

}  // namespace
}  // namespace llmrouter::kernels
