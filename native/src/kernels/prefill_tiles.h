// The AMX instructions of prefill attention. The assembler text names memory, because gcc 12's own intrinsics do not,
// and stores of the vectors between them would move across. Registers: 0-3 sums, 4-5 rows (A), 6 columns (B), 7 ones.

#pragma once

#include "kernels/level.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

#define TILE_LOAD(tile, from, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(static_cast<int64_t>(stride)) : "memory")
// The same for what is not read again soon: it passes by the first-level cache. Sums of outputs, keys and values would
// drive out queries, scores and weights (measured: 1.30 for 1.16 TFLOP/s at heads of 64).
#define TILE_LOAD_PAST(tile, from, stride) \
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(static_cast<int64_t>(stride)) : "memory")
#define TILE_STORE(tile, to, stride) \
  __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"(static_cast<int64_t>(stride)) : "memory")
#define TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::)
#define TILE_PRODUCT(sum, rows, columns) \
  __asm__ volatile("tdpbf16ps %%tmm" #columns ", %%tmm" #rows ", %%tmm" #sum ::)

// All eight registers are 16 rows of 64 bytes. Register 7: ones in bf16.
void tiles_on() {
  alignas(64) uint16_t ones[512];
  for (uint16_t& one : ones) one = 0x3f80;
  struct {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
  TILE_LOAD(7, ones, 64);
}

void tiles_off() { __asm__ volatile("tilerelease" ::); }

// Two row tiles by one column tile. kSet: whose sums, registers 0-1 or 2-3.
template <int kSet>
inline __attribute__((always_inline)) void sums_zero() {
  if constexpr (kSet == 0) {
    TILE_ZERO(0);
    TILE_ZERO(1);
  } else {
    TILE_ZERO(2);
    TILE_ZERO(3);
  }
}

template <int kSet>
inline __attribute__((always_inline)) void sums_load(const float* from, int64_t next_row) {
  if constexpr (kSet == 0) {
    TILE_LOAD_PAST(0, from, 64);
    TILE_LOAD_PAST(1, from + next_row, 64);
  } else {
    TILE_LOAD_PAST(2, from, 64);
    TILE_LOAD_PAST(3, from + next_row, 64);
  }
}

// One of the two sums: row tile 0 or 1.
template <int kSet, int kRow>
inline __attribute__((always_inline)) void sum_store(float* to) {
  if constexpr (kSet + kRow == 0) TILE_STORE(0, to, 64);
  if constexpr (kSet + kRow == 1) TILE_STORE(1, to, 64);
  if constexpr (kSet + kRow == 2) TILE_STORE(2, to, 64);
  if constexpr (kSet + kRow == 3) TILE_STORE(3, to, 64);
}

// sums += rows times the columns at `columns`, or, where that is null, the ones in register 7.
template <int kSet, bool kOnes>
inline __attribute__((always_inline)) void sums_add(const uint8_t* rows, const uint8_t* columns, int64_t stride) {
  if constexpr (!kOnes) TILE_LOAD_PAST(6, columns, stride);
  TILE_LOAD(4, rows, 64);
  if constexpr (kSet == 0 && !kOnes) TILE_PRODUCT(0, 4, 6);
  if constexpr (kSet != 0 && !kOnes) TILE_PRODUCT(2, 4, 6);
  if constexpr (kSet == 0 && kOnes) TILE_PRODUCT(0, 4, 7);
  if constexpr (kSet != 0 && kOnes) TILE_PRODUCT(2, 4, 7);
  TILE_LOAD(5, rows + 1024, 64);
  if constexpr (kSet == 0 && !kOnes) TILE_PRODUCT(1, 5, 6);
  if constexpr (kSet != 0 && !kOnes) TILE_PRODUCT(3, 5, 6);
  if constexpr (kSet == 0 && kOnes) TILE_PRODUCT(1, 5, 7);
  if constexpr (kSet != 0 && kOnes) TILE_PRODUCT(3, 5, 7);
}

}  // namespace
WINDOWTAX_END_LEVEL

#endif
