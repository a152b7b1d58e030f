// The AMX instructions of prefill attention. The assembler text names memory, because gcc 12's own intrinsics do not,
// and stores of the vectors between them would move across. Registers: 0-3 sums, 4-5 rows (A), 6-7 columns
// (B).

#pragma once

#include "kernels/level.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

#define TILE_LOAD(tile, from, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(static_cast<int64_t>(stride)) : "memory")
// The same for what is not read again soon, keys and values: it passes by the first-level cache. It takes 16 cycles or
// more wherever the tile lies, where a load from the first-level cache takes 9. But vectors that were stored shortly
// before do not hold it up, and the other one they do where the last twelve bits of the addresses agree (measured,
// everything in the second-level cache: 400 cycles for 32 queries against 32 keys with keys and values loaded like this,
// 530 without).
#define TILE_LOAD_PAST(tile, from, stride) \
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(static_cast<int64_t>(stride)) : "memory")
#define TILE_STORE(tile, to, stride) \
  __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"(static_cast<int64_t>(stride)) : "memory")
#define TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile ::)
#define TILE_PRODUCT(sum, rows, columns) \
  __asm__ volatile("tdpbf16ps %%tmm" #columns ", %%tmm" #rows ", %%tmm" #sum ::)

// All eight registers are 16 rows of 64 bytes.
void tiles_on() {
  struct {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}

void tiles_off() { __asm__ volatile("tilerelease" ::); }

}  // namespace
WINDOWTAX_END_LEVEL

#endif
