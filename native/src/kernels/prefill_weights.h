// From scores to weights: exp2 with bf16 results, in 16-bit integers, about ten instructions for 32 weights.
//
// A bf16 number's bits, read as an integer, are 128 * (log2(x) + 127 + e(x)), with e between 0 and 0.086 depending only
// on the mantissa. So the bits of 2^x are round(128 * (x + 127)) less a correction of 0 ... 11, looked up by six bits
// of the fraction. Relative error: 0.23% root mean square and 0.72% at most, as against 0.17% and 0.39% of rounding to
// bf16; the same rounded weights make numerator and denominator. The saturating packing to unsigned turns what is far
// below the reference, and what is masked, into exact zeros.
//
// The reference need not be the row's greatest score: bf16 has the exponents of float32, so weights may pass 1 by 2^61.
// It is set from the first keys that a row sees, and moved only when a score passes that limit (`peak`).
//
// What limits the speed: next to AMX the second unit of float arithmetic sleeps, so there is one float instruction per
// cycle (hence rounding by addition of a great number, and sums of weights by tiles), and shifts and shuffles have a
// port each.

#pragma once

#include "kernels/exp.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

constexpr int64_t kUnitRows = 32;                              // rows of a unit: two row tiles by one key block
constexpr float kLog2 = 128 * 1.44269504088896341f;            // units of the bits per unit of score
// Weights are kept times 2^-60: a score may then pass its reference by a factor of 2^61 before bit 14 shows.
constexpr float kOneBits = (127 - 60) * 128;
constexpr float kOne = 0x1p-60f;
constexpr float kGreat = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer, in its last bits
constexpr uint16_t kPeakBits = 0xc000;

// round over 128 f in {2i, 2i + 1} of 128 * (f + 1 - 2^f), chosen for the least square error.
alignas(64) constexpr uint8_t kCorrections[64] = {
    0,  1,  1,  2,  2,  3,  4,  4,  5,  5,  5,  6,  6,  7,  7,  8,  8,  8,  9,  9,  9,  9,
    10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 10, 10, 10,
    10, 10, 9,  9,  9,  8,  8,  8,  7,  7,  6,  6,  5,  5,  4,  3,  3,  2,  1,  1};

// One unit of rows: scores [2 halves][32 rows][16] floats, weights [32 rows][32] bf16. base[row] = kOneBits - kLog2 *
// reference, rounded to an integer; shifted = base + kGreat. Row r sees keys low[r] - first ... high[r] - first - 1 of
// the block.
struct Weighing {
  const float* scores;
  uint16_t* weights;
  const float* base;
  const float* shifted;
  const int32_t* low;
  const int32_t* high;
  int32_t first;
};

inline uint32_t seen(const int32_t* low, const int32_t* high, int64_t row, int32_t first) {
  const int32_t below_low = low[row] - first, below_high = high[row] - first;
  const uint32_t lows = _bzhi_u32(~0u, static_cast<uint32_t>(below_low < 0 ? 0 : below_low > 32 ? 32 : below_low));
  return _bzhi_u32(~0u, static_cast<uint32_t>(below_high < 0 ? 0 : below_high > 32 ? 32 : below_high)) & ~lows;
}

// Rows from ... to - 1; returns `peak` or'ed with what the weights' bits were. kCut: rows see only some of the keys;
// this form is right for scores of any size, while the other takes scores far below (by 10^5) for ones that pass the
// limit.
template <bool kCut>
inline __attribute__((always_inline)) __m512i weigh_rows(const Weighing& w, int64_t from, int64_t to, __m512i peak) {
  const __m512 unit = _mm512_set1_ps(kLog2), great = _mm512_set1_ps(kGreat);
  const __m512i corrections = _mm512_load_si512(kCorrections);
  const __m512i lanes = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  for (int64_t r = from; r < to; ++r) {
    const __m512 base = _mm512_set1_ps((kCut ? w.base : w.shifted)[r]);
    const __m512 x = _mm512_fmadd_ps(_mm512_loadu_ps(w.scores + r * 16), unit, base);
    const __m512 y = _mm512_fmadd_ps(_mm512_loadu_ps(w.scores + 512 + r * 16), unit, base);
    __m512i low, high;
    if constexpr (kCut) {
      const uint32_t mask = seen(w.low, w.high, r, w.first);
      low = _mm512_maskz_cvtps_epi32(static_cast<__mmask16>(mask), x);
      high = _mm512_maskz_cvtps_epi32(static_cast<__mmask16>(mask >> 16), y);
    } else {
      low = _mm512_sub_epi32(_mm512_castps_si512(x), _mm512_castps_si512(great));
      high = _mm512_sub_epi32(_mm512_castps_si512(y), _mm512_castps_si512(great));
    }
    const __m512i line = _mm512_permutexvar_epi64(lanes, _mm512_packus_epi32(low, high));
    peak = _mm512_or_si512(peak, line);
    const __m512i correction =
        _mm512_maskz_permutexvar_epi8(0x5555555555555555u, _mm512_srli_epi16(line, 1), corrections);
    _mm512_storeu_si512(w.weights + r * 32, _mm512_sub_epi16(line, correction));
  }
  return peak;
}

inline bool passes(__m512i peak) {
  return _mm512_test_epi16_mask(peak, _mm512_set1_epi16(static_cast<int16_t>(kPeakBits))) != 0;
}

void cap_scores(float* scores, float cap) {
  for (int64_t i = 0; i < kUnitRows * kBlockTokens; i += kLanes) {
    store_floats(scores + i, softcap_lanes(load_floats(scores + i), cap));
  }
}

// The greatest score that a row of a unit sees; -infinity where it sees none.
float greatest_seen(const float* scores, int64_t row, uint32_t mask) {
  const __m512 none = _mm512_set1_ps(-INFINITY);
  const __m512 x = _mm512_mask_loadu_ps(none, static_cast<__mmask16>(mask), scores + row * 16);
  const __m512 y = _mm512_mask_loadu_ps(none, static_cast<__mmask16>(mask >> 16), scores + 512 + row * 16);
  return _mm512_reduce_max_ps(_mm512_max_ps(x, y));
}

}  // namespace
WINDOWTAX_END_LEVEL

#endif
