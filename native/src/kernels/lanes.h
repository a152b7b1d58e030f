// Vectors of the level's own width, in the compiler's vector types, so that one source serves every level: 16 floats
// with AVX-512, 8 with AVX2, 4 otherwise (SSE2, NEON). Loads and stores need no alignment.

#pragma once

#include "kernels/level.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));

static inline Floats load_floats(const void* from) {
  Floats x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

static inline Words load_words(const void* from) {
  Words x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

// The first `count` words; the lanes behind them are zero, and nothing behind them is read.
static inline Words load_first(const void* from, int64_t count) {
#if defined(__AVX512F__)
  const __mmask16 exist = count >= kLanes ? __mmask16(-1) : __mmask16((1u << count) - 1);
  return (Words)_mm512_maskz_loadu_epi32(exist, from);
#else
  if (count >= kLanes) return load_words(from);
  Words some = {};
  for (int64_t i = 0; i < count; ++i) some[i] = static_cast<const uint32_t*>(from)[i];
  return some;
#endif
}

static inline void store_floats(void* to, Floats x) { std::memcpy(to, &x, sizeof x); }

static inline Floats all_lanes(float x) { return x - Floats{}; }

static inline Floats greater_lanes(Floats a, Floats b) { return a > b ? a : b; }

static inline float sum_of_lanes(Floats x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(x);
#else
  float sum = 0;
  for (int64_t i = 0; i < kLanes; ++i) sum += x[i];
  return sum;
#endif
}

static inline float greatest_of_lanes(Floats x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(x);
#else
  float greatest = x[0];
  for (int64_t i = 1; i < kLanes; ++i) greatest = x[i] > greatest ? x[i] : greatest;
  return greatest;
#endif
}

WINDOWTAX_END_LEVEL
