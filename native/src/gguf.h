#pragma once

// Quantised GGUF tensors as codes with scales: the block types that have one scale (and one least value) for each 32
// numbers, read as they are. It does not depend on the level: memory is what it waits for.
//
// Blocks as ggml defines them (ggml-common.h): q4_0 {fp16 d; 16 bytes}, q4_1 {fp16 d, m; 16 bytes}, q5_0 {fp16 d; 4
// bytes of fifth bits; 16 bytes}, q5_1 {fp16 d, m; 4 bytes; 16 bytes}, q8_0 {fp16 d; 32 int8}, q4_k {fp16 d, dmin; 12
// bytes of 6-bit scales and minima; 128 bytes} over 256 numbers, q5_k the same with 32 bytes of fifth bits before its 128.
// Over 32 numbers the low nibbles are the first 16; over 256 the low nibbles of 32 bytes are one group of 32 and the
// high ones the next, and bit i of a byte of fifth bits belongs to group i.

#include <cstdint>

namespace windowtax {

struct GgufType {
  const char* name;
  int64_t numbers, bytes;  // of one block
  bool has_least;
  // blocks of the type -> codes [count * numbers], scale and least (unless null) [count * numbers / 32]:
  // w = scale * code (+ least), codes in the range of the packed format (see kernels.h) that Python chooses for the type.
  void (*read)(const uint8_t* blocks, int64_t count, int8_t* codes, float* scale, float* least);
};

// Null for a type that is not read as it is.
const GgufType* gguf_type(const char* name);

}  // namespace windowtax
