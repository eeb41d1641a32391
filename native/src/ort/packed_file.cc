#include "ort/packed_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <system_error>
#include <utility>

#include "checksum.h"
#include "ort/matrix_file.h"

namespace llmrouter::ort {
namespace {

/// A page, and with it every matrix begins at one.
constexpr std::size_t kAlignment = 4096;
/// Changes with the order of the kernels and with what stands in the header.
constexpr char kMagic[8] = {'l', 'l', 'm', 'r', 'p', 'k', '0', '2'};

/// Stands in the first page.
struct Header {
  char magic[sizeof(kMagic)];
  std::uint64_t bytes;
  std::uint64_t matrices;
  /// Of the pages behind it.
  std::uint64_t checksum;
};

std::size_t Aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : number_(open(path.c_str(), flags, 0644)) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return number_; }

 private:
  int number_;
};

/// Numbers of processes would not do: in containers these are alike, and several may write to one
/// volume.
std::string RandomName() {
  std::random_device random;
  return std::to_string(random()) + "-" + std::to_string(random());
}

/// Locks a file that was just made; true where somebody else was faster. File systems without locks
/// are written to all the same.
bool IsTaken(int file) {
  if (flock(file, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  struct stat status = {};
  return fstat(file, &status) == 0 && status.st_nlink == 0;
}

/// A file of one's own to write, where nobody has one of that name, which is gone in the end.
/// Whoever tidies up tells it by the lock on it from what a killed process left.
class Fresh {
 public:
  explicit Fresh(const std::string& path)
      : path_(path),
        file_(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC),
        taken_(file_.get() >= 0 && IsTaken(file_.get())) {}
  ~Fresh() {
    if (file_.get() >= 0) unlink(path_.c_str());
  }
  Fresh(const Fresh&) = delete;
  Fresh& operator=(const Fresh&) = delete;

  /// Negative where the disk refuses.
  int get() const { return file_.get(); }
  /// Whether somebody took it for a leftover before its lock was held.
  bool taken() const { return taken_; }
  /// False where something has that name, or the file system has no second names.
  bool Link(const std::string& path) const { return link(path_.c_str(), path.c_str()) == 0; }
  bool Rename(const std::string& path) const {
    return std::rename(path_.c_str(), path.c_str()) == 0;
  }

 private:
  std::string path_;
  Descriptor file_;
  bool taken_;
};

/// Tries a few names beside `path`; null where the disk refuses.
std::unique_ptr<const Fresh> MakeFresh(const std::string& path) {
  constexpr int kTries = 8;
  for (int i = 0; i < kTries; ++i) {
    auto fresh = std::make_unique<const Fresh>(path + "." + RandomName() + ".new");
    if (fresh->get() < 0) return nullptr;
    if (!fresh->taken()) return fresh;
  }
  return nullptr;
}

/// A folder is not replaced by renaming; links are not followed.
void RemoveFolder(const std::string& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(std::filesystem::symlink_status(path, failed))) {
    std::filesystem::remove_all(path, failed);
  }
}

/// Null where it cannot be mapped.
std::shared_ptr<std::byte> MapBytes(int descriptor, std::size_t bytes, int protection) {
  void* memory = mmap(nullptr, bytes, protection, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) return nullptr;
  return {static_cast<std::byte*>(memory), [bytes](std::byte* mapped) { munmap(mapped, bytes); }};
}

/// What the header says of such a file, whose pages lie in `memory`.
Header HeaderOf(std::size_t bytes, std::size_t matrices, const std::byte* memory) {
  Header header{{}, bytes, matrices, Checksum({memory + kAlignment, bytes - kAlignment})};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  return header;
}

std::shared_ptr<std::byte> Slice(const std::shared_ptr<std::byte>& memory, std::size_t offset) {
  return {memory, memory.get() + offset};
}

}  // namespace

PackedFile::PackedFile(std::shared_ptr<std::byte> memory, Layout layout)
    : memory_(std::move(memory)), layout_(std::move(layout)) {}

std::shared_ptr<const PackedFile> PackedFile::Find(const std::string& path,
                                                   const std::vector<NativeMatrix>& matrices) {
  return matrices.empty() ? nullptr : Map(path, LayOut(matrices));
}

std::shared_ptr<const PackedFile> PackedFile::Write(const std::string& path,
                                                    const std::vector<NativeMatrix>& matrices) {
  if (matrices.empty()) return nullptr;
  Layout layout = LayOut(matrices);
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failed);
  // Beside it and then given its name, so that nobody maps half of it.
  const auto fresh = MakeFresh(path);
  if (fresh == nullptr || !Fill(fresh->get(), matrices, layout)) return nullptr;
  // Of those who write at once the first gives its file to all.
  if (!fresh->Link(path)) {
    if (auto first = Map(path, layout)) return first;
    RemoveFolder(path);
    if (!fresh->Rename(path)) return nullptr;
  }
  return Map(path, std::move(layout));
}

bool PackedFile::Holds(const std::vector<NativeMatrix>& matrices) const {
  return std::ranges::equal(matrices, layout_.shapes, {}, ShapeOf);
}

kernels::PackedMatrix PackedFile::Matrix(std::size_t index) const {
  return {layout_.shapes[index], Slice(memory_, layout_.offsets[index])};
}

PackedFile::Layout PackedFile::LayOut(const std::vector<NativeMatrix>& matrices) {
  Layout layout;
  layout.bytes = kAlignment;
  for (const NativeMatrix& matrix : matrices) {
    CheckMatrix(matrix);  // The sizes come from the model: no more than its file holds.
    layout.shapes.push_back(ShapeOf(matrix));
    layout.offsets.push_back(layout.bytes);
    layout.bytes += Aligned(kernels::PackedMatrix::Bytes(layout.shapes.back()));
  }
  return layout;
}

std::shared_ptr<const PackedFile> PackedFile::Map(const std::string& path, Layout layout) {
  const Descriptor file(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  struct stat status = {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0 ||
      static_cast<std::size_t>(status.st_size) != layout.bytes) {
    return nullptr;
  }
  std::shared_ptr<std::byte> memory = MapBytes(file.get(), layout.bytes, PROT_READ);
  if (memory == nullptr) return nullptr;
  // Read now, at the speed of the disk, rather than page by page. What a disk cannot read would end
  // the process where it is touched.
  if (madvise(memory.get(), layout.bytes, MADV_POPULATE_READ) != 0 && errno == EFAULT) {
    return nullptr;
  }
  Header header;
  std::memcpy(&header, memory.get(), sizeof(header));
  const Header expected = HeaderOf(layout.bytes, layout.shapes.size(), memory.get());
  if (std::memcmp(&header, &expected, sizeof(header)) != 0) return nullptr;
  return std::shared_ptr<const PackedFile>(new PackedFile(std::move(memory), std::move(layout)));
}

bool PackedFile::Fill(int file, const std::vector<NativeMatrix>& matrices, const Layout& layout) {
  // Room is taken before anything is written: a full disk would end the process otherwise.
  if (posix_fallocate(file, 0, static_cast<off_t>(layout.bytes)) != 0) return false;
  const auto memory = MapBytes(file, layout.bytes, PROT_READ | PROT_WRITE);
  if (memory == nullptr) return false;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    kernels::PackedMatrix packed(layout.shapes[i], Slice(memory, layout.offsets[i]));
    ReadMatrixInto(matrices[i], &packed);
  }
  const Header header = HeaderOf(layout.bytes, layout.shapes.size(), memory.get());
  std::memcpy(memory.get(), &header, sizeof(header));
  return fdatasync(file) == 0;
}

}  // namespace llmrouter::ort

namespace llmrouter {
namespace {

std::optional<SharedWeights> Shared(std::shared_ptr<const ort::PackedFile> file) {
  if (file == nullptr) return std::nullopt;
  return SharedWeights{std::move(file)};
}

}  // namespace

std::optional<SharedWeights> FindSharedWeights(const std::string& path,
                                               const std::vector<NativeMatrix>& matrices) {
  return Shared(ort::PackedFile::Find(path, matrices));
}

std::optional<SharedWeights> WriteSharedWeights(const std::string& path,
                                                const std::vector<NativeMatrix>& matrices) {
  return Shared(ort::PackedFile::Write(path, matrices));
}

}  // namespace llmrouter
