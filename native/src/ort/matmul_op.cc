#include "ort/matmul_op.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "kernels/block_matmul.h"
#include "llmrouter/error.h"
#include "ort/matrix_file.h"
#include "ort/session.h"

namespace llmrouter::ort {
namespace {

/// Products below this many multiplications are not worth waking another thread.
constexpr std::int64_t kWorthSharing = 1 << 17;
/// Pieces a product is cut into: more than threads, so that a thread that is held up leaves its
/// share to others.
constexpr int kPieces = 16;

/// Runs `body`; what it throws becomes a status, for nothing may be thrown through the library.
template <typename Body>
OrtStatus* Guarded(Body&& body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return GetApi()(kCreateStatus, kErrorFail, error.what());
  }
}

class Kernel {
 public:
  explicit Kernel(const NativeMatrix& matrix) : matrix_(ReadMatrix(matrix)) {}

  void Compute(OrtKernelContext* context) {
    const OrtValue* input = nullptr;
    Check(GetApi()(kKernelContextGetInput, context, 0, &input));
    std::vector<std::int64_t> shape = ShapeOf(input);
    if (shape.empty() || shape.back() != matrix_.shape().depth) {
      throw Error(ErrorCode::kGenerationFailed, "a matrix meets activations of another depth");
    }
    shape.back() = 1;
    std::int64_t rows = 1;
    for (const std::int64_t dimension : shape) rows *= dimension;
    shape.back() = matrix_.shape().columns;
    OrtValue* output = nullptr;
    Check(GetApi()(kKernelContextGetOutput, context, 0, shape.data(), shape.size(), &output));
    if (rows == 0) return;
    // The library's accessor knows no constant values.
    thread_local kernels::QuantisedRows quantised;  // One for all matrices: they run in turn.
    quantised.Assign(Data(const_cast<OrtValue*>(input)), static_cast<int>(rows),
                     matrix_.shape().depth);
    Share(context, {quantised, Data(output)});
  }

 private:
  static float* Data(OrtValue* value) {
    void* data = nullptr;
    Check(GetApi()(kGetTensorMutableData, value, &data));
    return static_cast<float*>(data);
  }

  /// One product on its way.
  struct Job {
    const kernels::QuantisedRows& rows;
    float* target;
    const kernels::PackedMatrix* matrix = nullptr;
    int pieces = 1;

    void Piece(int piece) const {
      const int panels = matrix->shape().Panels();
      kernels::Multiply(rows, *matrix, panels * piece / pieces, panels * (piece + 1) / pieces,
                        target, kernels::BestPath());
    }
  };

  void Share(const OrtKernelContext* context, Job job) const {
    const kernels::MatrixShape& shape = matrix_.shape();
    job.matrix = &matrix_;
    if (std::int64_t{shape.columns} * shape.depth * job.rows.rows() < kWorthSharing) {
      job.Piece(0);
      return;
    }
    job.pieces = std::min(shape.Panels(), kPieces);
    const auto run = +[](void* shared, std::size_t piece) {
      static_cast<const Job*>(shared)->Piece(static_cast<int>(piece));
    };
    Check(GetApi()(kKernelContextParallelFor, context, run, static_cast<std::size_t>(job.pieces),
                   std::size_t{0}, static_cast<void*>(&job)));
  }

  kernels::PackedMatrix matrix_;
};

}  // namespace

OrtStatus* MatMulDomain::CreateKernel(const OrtCustomOp* op, const void* /*api*/,
                                      const OrtKernelInfo* info, void** kernel) {
  return Guarded([&] {
    const auto& matrices = static_cast<const Op*>(op)->matrices;
    std::int64_t number = -1;
    Check(GetApi()(kKernelInfoGetInt64, info, "matrix", &number));
    if (number < 0 || static_cast<std::size_t>(number) >= matrices.size()) {
      throw Error(ErrorCode::kModelUnavailable, "the graph names a matrix that is not there");
    }
    *kernel = std::make_unique<Kernel>(matrices[static_cast<std::size_t>(number)]).release();
  });
}

MatMulDomain::MatMulDomain(std::vector<NativeMatrix> matrices)
    : domain_(Create<CustomOpDomainPtr>(kCreateCustomOpDomain, "llmrouter")) {
  op_.matrices = std::move(matrices);
  op_.get_name = +[](const OrtCustomOp*) { return "MatMulNBits"; };
  op_.get_provider = +[](const OrtCustomOp*) -> const char* { return kCpuProvider; };
  op_.get_input_type = +[](const OrtCustomOp*, std::size_t) { return kTypeFloat; };
  op_.get_input_count = +[](const OrtCustomOp*) { return std::size_t{1}; };
  op_.get_output_type = op_.get_input_type;
  op_.get_output_count = op_.get_input_count;
  op_.get_input_kind = +[](const OrtCustomOp*, std::size_t) { return kRequired; };
  op_.get_output_kind = op_.get_input_kind;
  op_.get_input_memory = +[](const OrtCustomOp*, std::size_t) { return kDefaultMemory; };
  op_.get_first_version = +[](const OrtCustomOp*) { return 1; };
  op_.get_last_version = op_.get_first_version;
  op_.create_kernel_v2 = CreateKernel;
  op_.compute_v2 = +[](void* kernel, OrtKernelContext* context) {
    return Guarded([&] { static_cast<Kernel*>(kernel)->Compute(context); });
  };
  op_.destroy_kernel = +[](void* kernel) { delete static_cast<Kernel*>(kernel); };
  Check(GetApi()(kCustomOpDomainAdd, domain_.get(), &op_));
}

}  // namespace llmrouter::ort
