// The gauge: what this level's best instruction for each kind of number does in registers alone, and how fast the widest
// loads read. What the kernels reach is held against this.

#include "kernels/parts.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

constexpr int kChains = 12;  // independent sums, more than latency times issue width

#if defined(__AVX512F__)
// Registers only: asm keeps the compiler from folding the sums or putting them into memory.
#define WINDOWTAX_CHAINS(instruction)                                                                              \
  asm volatile(instruction " %%zmm30, %%zmm31, %%zmm0\n\t" instruction " %%zmm30, %%zmm31, %%zmm1\n\t" instruction \
                           " %%zmm30, %%zmm31, %%zmm2\n\t" instruction " %%zmm30, %%zmm31, %%zmm3\n\t" instruction \
                           " %%zmm30, %%zmm31, %%zmm4\n\t" instruction " %%zmm30, %%zmm31, %%zmm5\n\t" instruction \
                           " %%zmm30, %%zmm31, %%zmm6\n\t" instruction " %%zmm30, %%zmm31, %%zmm7\n\t" instruction \
                           " %%zmm30, %%zmm31, %%zmm8\n\t" instruction " %%zmm30, %%zmm31, %%zmm9\n\t" instruction \
                           " %%zmm30, %%zmm31, %%zmm10\n\t" instruction " %%zmm30, %%zmm31, %%zmm11"               \
               :                                                                                                   \
               :                                                                                                   \
               : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11")

// Denormals would slow the sums down, so they start from zeros.
void zero_registers() {
  asm volatile("vpxorq %%zmm30, %%zmm30, %%zmm30\n\tvpxorq %%zmm31, %%zmm31, %%zmm31" : : : "xmm30", "xmm31");
}

int64_t floats(int64_t rounds) {
  zero_registers();
  for (int64_t i = 0; i < rounds; ++i) WINDOWTAX_CHAINS("vfmadd231ps");
  return rounds * kChains * 16 * 2;
}

#if !defined(__AMX_TILE__)
int64_t halves(int64_t rounds) {
  zero_registers();
  for (int64_t i = 0; i < rounds; ++i) WINDOWTAX_CHAINS("vdpbf16ps");
  return rounds * kChains * 32 * 2;
}

int64_t bytes(int64_t rounds) {
  zero_registers();
  for (int64_t i = 0; i < rounds; ++i) WINDOWTAX_CHAINS("vpdpbusd");
  return rounds * kChains * 64 * 2;
}
#endif

#elif defined(__AVX2__)

int64_t floats(int64_t rounds) {
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  __m256 a = _mm256_setzero_ps(), b = a;
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = _mm256_fmadd_ps(a, b, sums[c]);
  }
  __m256 all = sums[0];
  for (int c = 1; c < kChains; ++c) all = _mm256_add_ps(all, sums[c]);
  asm volatile("" : : "x"(all));
  return rounds * kChains * 8 * 2;
}

#else

int64_t floats(int64_t rounds) {
  constexpr int kNumbers = 32;
  float sums[kNumbers] = {}, a = 0.5f, b = 0.25f;
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+r"(rounds), "+m"(a), "+m"(b));
    for (float& sum : sums) sum += a * b;
  }
  asm volatile("" : : "r"(sums) : "memory");
  return rounds * kNumbers * 2;
}

#endif

#if defined(__AMX_TILE__)

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t columns[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Four sums in tiles 0 to 3, so that one tile product does not wait for the last.
#define WINDOWTAX_TILES(instruction)                                                                        \
  asm volatile(instruction " %tmm6, %tmm4, %tmm0\n\t" instruction " %tmm7, %tmm4, %tmm1\n\t" instruction \
                           " %tmm6, %tmm5, %tmm2\n\t" instruction " %tmm7, %tmm5, %tmm3")

void open_tiles() {
  const TileConfig config;
  asm volatile("ldtilecfg %0" : : "m"(config));
  asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
  asm volatile("tilezero %tmm4\n\ttilezero %tmm5\n\ttilezero %tmm6\n\ttilezero %tmm7");
}

int64_t halves(int64_t rounds) {
  open_tiles();
  for (int64_t i = 0; i < rounds; ++i) WINDOWTAX_TILES("tdpbf16ps");
  asm volatile("tilerelease");
  return rounds * 4 * 16 * 16 * 32 * 2;
}

int64_t bytes(int64_t rounds) {
  open_tiles();
  for (int64_t i = 0; i < rounds; ++i) WINDOWTAX_TILES("tdpbssd");
  asm volatile("tilerelease");
  return rounds * 4 * 16 * 16 * 64 * 2;
}

#elif !defined(__AVX512F__)

int64_t halves(int64_t) { return 0; }
int64_t bytes(int64_t) { return 0; }

#endif

int64_t gauge_multiply(int kind, int64_t rounds) {
  return kind == 0 ? floats(rounds) : kind == 1 ? halves(rounds) : bytes(rounds);
}

uint64_t gauge_read(const uint8_t* data, int64_t count) {
  uint64_t sum = 0;
#if defined(__AVX512F__)
  __m512i sums[4] = {};
  for (int64_t i = 0; i + 256 <= count; i += 256)
    for (int j = 0; j < 4; ++j) sums[j] = _mm512_add_epi64(sums[j], _mm512_loadu_si512(data + i + 64 * j));
  uint64_t lanes[8];
  _mm512_storeu_si512(lanes, _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_add_epi64(sums[2], sums[3])));
  for (uint64_t lane : lanes) sum += lane;
#else
  for (int64_t i = 0; i + 8 <= count; i += 8) {
    uint64_t word;
    std::memcpy(&word, data + i, 8);
    sum += word;
  }
#endif
  return sum;
}

}  // namespace

void add_gauge(Kernels& table) {
  table.gauge_multiply = gauge_multiply;
  table.gauge_read = gauge_read;
}

WINDOWTAX_END_LEVEL
