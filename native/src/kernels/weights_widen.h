// Units of codes widened to tiles of bf16, the B tiles of AMX products.

#pragma once

#include "kernels/weights.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

// Bytes become bf16 by way of fp32: a byte put into bits 8..15 of 1.0 makes 1 + byte / 2^15, and one multiply-add takes
// that to scale * code + least. Codes of 4 and 5 bits lie in the high bits of their bytes: what rounding loses of the
// sum of the least and of what 1 became is a smaller part of a step then. The permutation lays both columns of a pair
// side by side at once.
class Widener {
 public:
  Widener() {
    for (int half = 0; half < 2; ++half)
      for (int lanes = 0; lanes < 2; ++lanes) {
        alignas(64) uint8_t from[64] = {};
        for (int word = 0; word < 16; ++word)
          from[4 * word + 1] = static_cast<uint8_t>((lanes * 8 + word / 2) * 4 + 2 * half + word % 2);
        order_[half][lanes] = _mm512_load_si512(from);
      }
  }

  void unit(WeightFormat format, const uint8_t* unit, uint8_t* tile) const {
    switch (format) {
      case WeightFormat::q8:
        return q8(unit, tile);
      case WeightFormat::q5:
        return q5<WeightFormat::q5>(unit, tile);
      case WeightFormat::q5_least:
        return q5<WeightFormat::q5_least>(unit, tile);
      default:
        return q4(unit, tile);
    }
  }

 private:
  void q8(const uint8_t* unit, uint8_t* tile) const {
    const __m512i flip = _mm512_set1_epi8(-128);
    const __m512 scale = load_fp16(unit + code_bytes(WeightFormat::q8));
    const Line line(scale, 0x1p15f, -(0x1p15f + 128.0f), _mm512_setzero_ps());
#pragma GCC unroll 8
    for (int quad = 0; quad < 8; ++quad)
      widen(_mm512_xor_si512(_mm512_loadu_si512(unit + quad * 64), flip), line, tile + quad * 128);
  }

  void q4(const uint8_t* unit, uint8_t* tile) const {
    const __m512i high = _mm512_set1_epi8(static_cast<char>(0xf0));
    const uint8_t* behind = unit + code_bytes(WeightFormat::q4);
    // The codes stay in the bytes' high halves: sixteen times as much.
    const Line line(load_fp16(behind), 0x1p11f, -0x1p11f, load_fp16(behind + 2 * kRows));
#pragma GCC unroll 4
    for (int quad = 0; quad < 4; ++quad) {
      const __m512i both = _mm512_loadu_si512(unit + quad * 64);
      widen(_mm512_and_si512(_mm512_slli_epi16(both, 4), high), line, tile + quad * 128);
      widen(_mm512_and_si512(both, high), line, tile + 512 + quad * 128);
    }
  }

  // The codes lie in the bytes' high bits: eight times as much.
  template <WeightFormat Format>
  void q5(const uint8_t* unit, uint8_t* tile) const {
    const __m512i low = _mm512_set1_epi8(0x78), fifth = _mm512_set1_epi8(static_cast<char>(0x80));
    const uint8_t* behind = unit + code_bytes(Format);
    const __m512i fifths = _mm512_loadu_si512(unit + kFifths);
    const __m512 scale = load_fp16(behind);
    const Line line = has_least(Format) ? Line(scale, 0x1p12f, -0x1p12f, load_fp16(behind + 2 * kRows))
                                        : Line(scale, 0x1p12f, -(0x1p12f + kFifthOffset), _mm512_setzero_ps());
#pragma GCC unroll 4
    for (int quad = 0; quad < 4; ++quad) {
      const __m512i both = _mm512_loadu_si512(unit + quad * 64);
      const __m512i first = _mm512_and_si512(_mm512_slli_epi16(both, 3), low);
      const __m512i second = _mm512_and_si512(_mm512_srli_epi16(both, 1), low);
      widen(_mm512_or_si512(first, _mm512_and_si512(_mm512_slli_epi16(fifths, 7 - quad), fifth)), line,
            tile + quad * 128);
      widen(_mm512_or_si512(second, _mm512_and_si512(_mm512_slli_epi16(fifths, 3 - quad), fifth)), line,
            tile + 512 + quad * 128);
    }
  }

  // factor * f + offset per matrix row, each twice (for the two columns of a pair), rows 0..7 and rows 8..15.
  struct Line {
    __m512 factor[2], offset[2];
    Line(__m512 scale, float by, float from, __m512 least) {
      const __m512 factors = _mm512_mul_ps(scale, _mm512_set1_ps(by));
      const __m512 offsets = _mm512_fmadd_ps(scale, _mm512_set1_ps(from), least);
      const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
      const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
      factor[0] = _mm512_permutexvar_ps(low, factors);
      factor[1] = _mm512_permutexvar_ps(high, factors);
      offset[0] = _mm512_permutexvar_ps(low, offsets);
      offset[1] = _mm512_permutexvar_ps(high, offsets);
    }
  };

  __m512 number(__m512i bytes, const Line& line, int half, int lanes) const {
    const __m512i one = _mm512_set1_epi32(0x3f800000);
    const __m512i placed = _mm512_mask_permutexvar_epi8(one, 0x2222222222222222u, order_[half][lanes], bytes);
    return _mm512_fmadd_ps(_mm512_castsi512_ps(placed), line.factor[lanes], line.offset[lanes]);
  }

  // Two rows of a tile: the pairs of a quad.
  void widen(__m512i bytes, const Line& line, uint8_t* out) const {
    for (int half = 0; half < 2; ++half) {
      const __m512bh pairs = _mm512_cvtne2ps_pbh(number(bytes, line, half, 1), number(bytes, line, half, 0));
      _mm512_storeu_si512(out + half * 64, reinterpret_cast<const __m512i&>(pairs));
    }
  }

  __m512i order_[2][2];
};

}  // namespace
WINDOWTAX_END_LEVEL

#endif
