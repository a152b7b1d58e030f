// The gauge: what this level's best instruction for each kind of number does in registers alone, and how fast the widest
// loads read. What the kernels reach is held against this.

#include "kernels/parts.h"
#include "kernels/weights.h"

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

// 256 bytes, added up; `ahead`: how far behind each line one is fetched, 0 for none.
#if defined(__AVX512F__)
using Total = __m512i[4];

inline void add_bytes(const uint8_t* from, int64_t ahead, Total& total) {
  for (int j = 0; j < 4; ++j) {
    if (ahead) prefetch_line(from + ahead + 64 * j);
    total[j] = _mm512_add_epi64(total[j], _mm512_loadu_si512(from + 64 * j));
  }
}

uint64_t sum_of(const Total& total) {
  const __m512i low = _mm512_add_epi64(total[0], total[1]), high = _mm512_add_epi64(total[2], total[3]);
  return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
}
#else
using Total = uint64_t[8];

inline void add_bytes(const uint8_t* from, int64_t ahead, Total& total) {
  for (int64_t line = 0; line < 256; line += 64) {
    if (ahead) prefetch_line(from + ahead + line);
    uint64_t words[8];
    std::memcpy(words, from + line, sizeof words);
    for (int i = 0; i < 8; ++i) total[i] += words[i];
  }
}

uint64_t sum_of(const Total& total) {
  uint64_t sum = 0;
  for (uint64_t lane : total) sum += lane;
  return sum;
}
#endif

uint64_t gauge_read(const uint8_t* data, int64_t count, bool apart) {
  Total total = {};
  const int64_t half = apart ? count / 2 / kTurnBytes * kTurnBytes : 0;
  for (int64_t first = 0; first < half; first += kTurnBytes)
    for (int64_t at = first; at < 2 * half; at += half)
      for (int64_t i = 0; i < kTurnBytes; i += 256) add_bytes(data + at + i, kStreamAhead, total);
  for (int64_t i = 2 * half; i + 256 <= count; i += 256) add_bytes(data + i, 0, total);
  return sum_of(total);
}

}  // namespace

void add_gauge(Kernels& table) {
  table.gauge_multiply = gauge_multiply;
  table.gauge_read = gauge_read;
}

WINDOWTAX_END_LEVEL
