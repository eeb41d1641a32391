#pragma once

#include "kernels/attention.h"

namespace llmrouter::kernels {

/// `Attend`, in plain arithmetic and with eight values to a register; they round otherwise.
void AttendPortable(std::span<const Query> queries, const float* keys, const float* values,
                    int head_size, std::vector<float>* scratch);
void AttendPortable(std::span<const Query> queries, const std::uint16_t* keys,
                    const std::uint16_t* values, int head_size, std::vector<float>* scratch);
void AttendAvx2(std::span<const Query> queries, const float* keys, const float* values,
                int head_size, std::vector<float>* scratch);
void AttendAvx2(std::span<const Query> queries, const std::uint16_t* keys,
                const std::uint16_t* values, int head_size, std::vector<float>* scratch);

}  // namespace llmrouter::kernels
