#pragma once

#include "kernels/attention.h"

namespace llmrouter::kernels {

/// `Attend`, in plain arithmetic and with eight or sixteen values to a register (then head_size is
/// a multiple of 16); they round otherwise.
void AttendPortable(std::span<const Query> queries, const float* keys, const float* values,
                    int head_size, std::vector<float>* scratch);
void AttendPortable(std::span<const Query> queries, const std::uint16_t* keys,
                    const std::uint16_t* values, int head_size, std::vector<float>* scratch);
void AttendAvx2(std::span<const Query> queries, const float* keys, const float* values,
                int head_size, std::vector<float>* scratch);
void AttendAvx2(std::span<const Query> queries, const std::uint16_t* keys,
                const std::uint16_t* values, int head_size, std::vector<float>* scratch);
void AttendAvx512(std::span<const Query> queries, const float* keys, const float* values,
                  int head_size, std::vector<float>* scratch);
void AttendAvx512(std::span<const Query> queries, const std::uint16_t* keys,
                  const std::uint16_t* values, int head_size, std::vector<float>* scratch);

}  // namespace llmrouter::kernels
