// Types of quantised GGUF tensors that are read natively: those that have one scale (and one least value) for each 32
// numbers, which stay as they are, and Q6_K, whose scales are per 16 and which becomes 8-bit codes.

#pragma once

#include "kernels.h"

namespace windowtax {

struct GgufType {
  const char* name;
  int64_t numbers, bytes;  // of one block
  WeightFormat format;     // of a packed matrix that takes its codes
};

// In the order of BlockType.
constexpr GgufType kGgufTypes[] = {
    {"Q4_0", 32, 18, WeightFormat::q4},   {"Q4_1", 32, 20, WeightFormat::q4},
    {"Q5_0", 32, 22, WeightFormat::q5},   {"Q5_1", 32, 24, WeightFormat::q5_least},
    {"Q8_0", 32, 34, WeightFormat::q8},   {"Q4_K", 256, 144, WeightFormat::q4},
    {"Q5_K", 256, 176, WeightFormat::q5_least}, {"Q6_K", 256, 210, WeightFormat::q8},
};
constexpr int kNumGgufTypes = static_cast<int>(sizeof kGgufTypes / sizeof kGgufTypes[0]);

inline const GgufType& gguf_type(BlockType type) { return kGgufTypes[static_cast<int>(type)]; }

}  // namespace windowtax
