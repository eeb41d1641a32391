#include "ort/packed_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "llmrouter/error.h"
#include "ort/matrix_file.h"

namespace llmrouter::ort {
namespace {

namespace fs = std::filesystem;

/// The inodes of the packed files that this process has mapped.
std::multiset<std::string> MappedInodes() {
  std::multiset<std::string> found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    std::string range, access, offset, device, inode, path;
    fields >> range >> access >> offset >> device >> inode >> path;
    if (path.ends_with("/made/packed")) found.insert(inode);
  }
  return found;
}

/// Removes the files below `folder` that are written by nobody, as a load does before its own.
void TidyUp(const fs::path& folder) {
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    if (entry.path().extension() != ".new") continue;
    const int file = open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) continue;
    if (flock(file, LOCK_EX | LOCK_NB) == 0) unlink(entry.path().c_str());
    close(file);
  }
}

/// Two matrices in a file of weights, of 8 and of 4 bits, the second with zero points.
class PackedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::mt19937 random(1);
    std::vector<char> bytes(40000);
    for (char& byte : bytes) byte = static_cast<char>(random());
    const fs::path weights = folder_ / "weights";
    std::ofstream(weights, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    matrices_ = {{weights, 40, 64, 8, 0, 4096, -1}, {weights, 16, 96, 4, 8192, 12288, 16384}};
  }

  std::string Place() const { return folder_ / "made" / "packed"; }

  /// What a model does that is loaded.
  std::shared_ptr<const PackedFile> FindOrWrite() const {
    auto file = PackedFile::Find(Place(), matrices_);
    return file != nullptr ? file : PackedFile::Write(Place(), matrices_);
  }

  void Overwrite(std::streamoff at, const std::string& bytes) const {
    std::fstream file(Place(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  void ExpectWhatIsRead(const PackedFile& file) const {
    for (std::size_t i = 0; i < matrices_.size(); ++i) {
      const kernels::PackedMatrix found = file.Matrix(i), read = ReadMatrix(matrices_[i]);
      const std::size_t bytes = kernels::PackedMatrix::Bytes(read.shape());
      EXPECT_EQ(std::memcmp(found.Panel(0), read.Panel(0), bytes), 0);
    }
  }

  fs::path folder_;
  std::vector<NativeMatrix> matrices_;
};

TEST_F(PackedFileTest, HoldsWhatReadingGivesForAllWhoComeLater) {
  EXPECT_EQ(PackedFile::Find(Place(), matrices_), nullptr);
  const auto first = PackedFile::Write(Place(), matrices_);
  ASSERT_NE(first, nullptr);
  ExpectWhatIsRead(*first);
  const auto second = PackedFile::Find(Place(), matrices_);
  ASSERT_NE(second, nullptr);
  ExpectWhatIsRead(*second);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "made"), {}), 1);
}

TEST_F(PackedFileTest, AMatrixOutlivesTheObjectItCameFrom) {
  auto file = PackedFile::Write(Place(), matrices_);
  ASSERT_NE(file, nullptr);
  const kernels::PackedMatrix matrix = file->Matrix(1);
  file.reset();
  const kernels::PackedMatrix read = ReadMatrix(matrices_[1]);
  EXPECT_EQ(std::memcmp(matrix.Panel(0), read.Panel(0), kernels::PackedMatrix::Bytes(read.shape())),
            0);
}

TEST_F(PackedFileTest, WhatWasCutIsNotFoundAndIsWrittenAnew) {
  PackedFile::Write(Place(), matrices_);
  fs::resize_file(Place(), fs::file_size(Place()) - 1);
  EXPECT_EQ(PackedFile::Find(Place(), matrices_), nullptr);
  ASSERT_NE(PackedFile::Write(Place(), matrices_), nullptr);
  EXPECT_NE(PackedFile::Find(Place(), matrices_), nullptr);
}

TEST_F(PackedFileTest, DamageAnywhereIsFoundAndMendedByWritingAnew) {
  PackedFile::Write(Place(), matrices_);
  const auto bytes = static_cast<std::streamoff>(fs::file_size(Place()));
  for (const std::streamoff at : {std::streamoff{0}, std::streamoff{8}, std::streamoff{16},
                                  std::streamoff{24}, std::streamoff{4096}, bytes - 1}) {
    const auto file = FindOrWrite();
    ASSERT_NE(file, nullptr);
    ExpectWhatIsRead(*file);
    Overwrite(at, "\x7f");
    EXPECT_EQ(PackedFile::Find(Place(), matrices_), nullptr) << "byte " << at;
  }
}

TEST_F(PackedFileTest, AFileOfOtherMatricesIsNotTheirs) {
  const auto file = PackedFile::Write(Place(), matrices_);
  ASSERT_NE(file, nullptr);
  EXPECT_TRUE(file->Holds(matrices_));
  matrices_[0].bits = 4;
  EXPECT_FALSE(file->Holds(matrices_));
  matrices_.pop_back();
  EXPECT_FALSE(file->Holds(matrices_));
  EXPECT_EQ(PackedFile::Find(Place(), matrices_), nullptr);
}

TEST_F(PackedFileTest, WhoeverWritesAtOnceLeavesTheFilesOfOthersAlone) {
  // Threads have one process number, as processes of several containers do.
  for (int round = 0; round < 20; ++round) {
    fs::remove_all(folder_ / "made");
    std::vector<std::shared_ptr<const PackedFile>> opened(4);
    std::vector<std::thread> writers;
    for (auto& file : opened) {
      writers.emplace_back([this, &file] { file = FindOrWrite(); });
    }
    for (std::thread& writer : writers) writer.join();
    for (const auto& file : opened) {
      ASSERT_NE(file, nullptr);
      ExpectWhatIsRead(*file);
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "made"), {}), 1);
  }
}

TEST_F(PackedFileTest, WhoeverWritesAtOnceForTheFirstTimeComputesWithOneFile) {
  for (int round = 0; round < 20; ++round) {
    fs::remove_all(folder_ / "made");
    std::vector<std::shared_ptr<const PackedFile>> opened(4);
    std::vector<std::thread> writers;
    for (auto& file : opened) {
      writers.emplace_back([this, &file] { file = PackedFile::Write(Place(), matrices_); });
    }
    for (std::thread& writer : writers) writer.join();
    const std::multiset<std::string> inodes = MappedInodes();
    EXPECT_EQ(inodes.size(), opened.size());
    EXPECT_EQ(std::set(inodes.begin(), inodes.end()).size(), 1);
  }
}

TEST_F(PackedFileTest, NobodyTakesWhatIsBeingWrittenForALeftover) {
  std::atomic<bool> writing = true;
  std::thread tidy([this, &writing] {
    while (writing) TidyUp(folder_ / "made");
  });
  for (int round = 0; round < 200; ++round) {
    EXPECT_NE(PackedFile::Write(Place(), matrices_), nullptr) << "round " << round;
    fs::remove(Place());
  }
  writing = false;
  tidy.join();
}

TEST_F(PackedFileTest, WhatElseLiesInItsPlaceGoes) {
  fs::create_directories(folder_ / "elsewhere" / "kept");
  for (const bool link : {false, true}) {
    fs::remove_all(folder_ / "made");
    fs::create_directories(folder_ / "made");
    if (link) {
      fs::create_directory_symlink(folder_ / "elsewhere", Place());
    } else {
      fs::create_directories(Place() + "/inner");
    }
    EXPECT_EQ(PackedFile::Find(Place(), matrices_), nullptr);
    EXPECT_NE(PackedFile::Write(Place(), matrices_), nullptr);
    EXPECT_NE(PackedFile::Find(Place(), matrices_), nullptr);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "made"), {}), 1);
  }
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere" / "kept"));
}

TEST_F(PackedFileTest, ADiskThatRefusesSharesNothing) {
  std::ofstream(folder_ / "made") << "a file where a folder would be";
  EXPECT_EQ(PackedFile::Write(Place(), matrices_), nullptr);
  EXPECT_EQ(PackedFile::Find(Place(), matrices_), nullptr);
  EXPECT_EQ(PackedFile::Write(folder_ / "none", {}), nullptr);
}

TEST_F(PackedFileTest, MatricesThatTheirFileDoesNotHoldAreRefusedBeforeAnythingIsWritten) {
  matrices_[0].columns = 1 << 30;
  EXPECT_THROW(PackedFile::Find(Place(), matrices_), Error);
  EXPECT_THROW(PackedFile::Write(Place(), matrices_), Error);
  EXPECT_FALSE(fs::exists(folder_ / "made"));
}

}  // namespace
}  // namespace llmrouter::ort
