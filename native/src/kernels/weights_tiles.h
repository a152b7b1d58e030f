// AMX tile registers. Inline assembly, because gcc 12 drops the stores that feed its own intrinsics' memory operands;
// each statement names memory, so that stores before it and loads after it stay where they are. T: tile number.

#pragma once

#include "kernels/level.h"

#if defined(__AMX_TILE__)

#define TILE_LOAD(T, base, stride) \
  asm volatile("tileloadd (%0,%1,1), %%tmm" #T : : "r"(base), "r"(static_cast<long>(stride)) : "memory")
// The same for what is read once: it passes by the first-level cache and leaves what is kept there.
#define TILE_LOAD_PAST(T, base, stride) \
  asm volatile("tileloaddt1 (%0,%1,1), %%tmm" #T : : "r"(base), "r"(static_cast<long>(stride)) : "memory")
#define TILE_STORE(T, base, stride) \
  asm volatile("tilestored %%tmm" #T ", (%0,%1,1)" : : "r"(base), "r"(static_cast<long>(stride)) : "memory")
#define TILE_ZERO(T) asm volatile("tilezero %%tmm" #T : :)
#define TILE_BF16(C, A, B) asm volatile("tdpbf16ps %%tmm" #B ", %%tmm" #A ", %%tmm" #C : :)
#define TILE_INT8(C, A, B) asm volatile("tdpbssd %%tmm" #B ", %%tmm" #A ", %%tmm" #C : :)

WINDOWTAX_BEGIN_LEVEL

// The tiles' shapes from construction to destruction. Tiles 0..3 are sums [height][16] of 4 bytes, 4..5 activations
// [height][a_bytes], 6..7 weights [b_rows][64 bytes].
class Tiles {
 public:
  Tiles(int64_t height, int a_bytes, int b_rows) {
    Config config = {};
    config.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      config.rows[tile] = static_cast<uint8_t>(tile < 6 ? height : b_rows);
      config.bytes[tile] = static_cast<uint16_t>(tile == 4 || tile == 5 ? a_bytes : 64);
    }
    asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }
  ~Tiles() { asm volatile("tilerelease" : : : "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  struct alignas(64) Config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
  static_assert(sizeof(Config) == 64);
};

WINDOWTAX_END_LEVEL

#endif
