// Products of codes by dot products of bytes, on activations quantised per row and group: VNNI with AVX-512, pairs
// of bytes with AVX2, SDOT with NEON. Every unit is streamed once from memory; its integer sums are exact, then scaled
// and added in fp32.

#include "kernels/weights.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)

namespace {

// Asks for a quarter of the unit's lines that come later; ahead: null where another call does. Between the sums: beside
// the loads of codes, two streams gain half as much.
template <WeightFormat Format>
inline void ask_ahead(const uint8_t* ahead, int quarter) {
  if (!ahead) return;
  for (int64_t line = quarter * 64; line < unit_bytes(Format); line += 4 * 64) prefetch_line(ahead + line);
}

inline int32_t four_bytes(const int8_t* from) {
  int32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

#if defined(__AVX512VNNI__)

using Sums = __m512;            // one number for each of a vector's matrix rows
constexpr int kSums = 1;        // vectors per panel
constexpr int kMostRows = 4;    // rows of activations at a time
constexpr bool kOffset = true;  // q8 codes are made unsigned by 128 here
using Codes = __m512i[8];

inline Sums zero_sums() { return _mm512_setzero_ps(); }
inline Sums all_sums(float x) { return _mm512_set1_ps(x); }
inline Sums add_product(Sums a, Sums b, Sums c) { return _mm512_fmadd_ps(a, b, c); }
inline Sums product(Sums a, Sums b) { return _mm512_mul_ps(a, b); }

inline void store_some(float* out, Sums x, int64_t width) {
  _mm512_mask_storeu_ps(out, row_mask(width), x);
}

// The eight vectors of codes [quad][16 rows][4] of a unit as unsigned bytes.
template <WeightFormat Format>
inline void load_codes(const uint8_t* unit, int, Codes& codes) {
  if constexpr (Format == WeightFormat::q8) {
    const __m512i flip = _mm512_set1_epi8(-128);
    for (int quad = 0; quad < 8; ++quad) codes[quad] = _mm512_xor_si512(_mm512_loadu_si512(unit + quad * 64), flip);
  } else {
    const __m512i fifths = load_fifths<Format>(unit);
    for (int quad = 0; quad < 4; ++quad) load_quads<Format>(unit, fifths, quad, codes[quad], codes[quad + 4]);
  }
}

template <WeightFormat Format>
inline Sums dot(const Codes& codes, const int8_t* with, int32_t start, const uint8_t* ahead) {
  __m512i even = _mm512_set1_epi32(start), odd = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int quad = 0; quad < 8; quad += 2) {
    ask_ahead<Format>(ahead, quad / 2);
    even = _mm512_dpbusd_epi32(even, codes[quad], _mm512_set1_epi32(four_bytes(with + 4 * quad)));
    odd = _mm512_dpbusd_epi32(odd, codes[quad + 1], _mm512_set1_epi32(four_bytes(with + 4 * quad + 4)));
  }
  return _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
}

#elif defined(__ARM_FEATURE_DOTPROD)

using Sums = float32x4_t;
constexpr int kSums = 4;
constexpr int kMostRows = 2;
constexpr bool kOffset = false;
using Codes = int8x16_t[8];

inline Sums zero_sums() { return vdupq_n_f32(0.0f); }
inline Sums all_sums(float x) { return vdupq_n_f32(x); }
inline Sums add_product(Sums a, Sums b, Sums c) { return vfmaq_f32(c, a, b); }
inline Sums product(Sums a, Sums b) { return vmulq_f32(a, b); }

inline Sums load_fp16(const uint8_t* from) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from))); }

inline void store_some(float* out, Sums x, int64_t width) {
  if (width >= 4) return vst1q_f32(out, x);
  for (int64_t i = 0; i < width; ++i) out[i] = x[i];
}

// Of a quarter of a panel's rows, the eight vectors of codes [quad][4 rows][4]; all formats' fit signed bytes.
template <WeightFormat Format>
inline void load_codes(const uint8_t* unit, int quarter, Codes& codes) {
  unit += quarter * 16;
  if constexpr (Format == WeightFormat::q8) {
    for (int quad = 0; quad < 8; ++quad) codes[quad] = vreinterpretq_s8_u8(vld1q_u8(unit + quad * 64));
  } else {
    const uint8x16_t nibble = vdupq_n_u8(15), fifth = vdupq_n_u8(16);
    const uint8x16_t fifths = Format == WeightFormat::q4 ? nibble : vld1q_u8(unit + kFifths);
    for (int quad = 0; quad < 4; ++quad) {
      const uint8x16_t both = vld1q_u8(unit + quad * 64);
      uint8x16_t low = vandq_u8(both, nibble), high = vshrq_n_u8(both, 4);
      if constexpr (Format != WeightFormat::q4) {
        low = vorrq_u8(low, vandq_u8(vshlq_u8(fifths, vdupq_n_s8(static_cast<int8_t>(4 - quad))), fifth));
        high = vorrq_u8(high, vandq_u8(vshlq_u8(fifths, vdupq_n_s8(static_cast<int8_t>(-quad))), fifth));
      }
      codes[quad] = vreinterpretq_s8_u8(low);
      codes[quad + 4] = vreinterpretq_s8_u8(high);
    }
  }
}

template <WeightFormat Format>
inline Sums dot(const Codes& codes, const int8_t* with, int32_t start, const uint8_t* ahead) {
  int32x4_t even = vdupq_n_s32(start), odd = vdupq_n_s32(0);
  for (int quad = 0; quad < 8; quad += 2) {
    ask_ahead<Format>(ahead, quad / 2);
    even = vdotq_s32(even, codes[quad], vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(with + 4 * quad))));
    odd = vdotq_s32(odd, codes[quad + 1], vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(with + 4 * quad + 4))));
  }
  return vcvtq_f32_s32(vaddq_s32(even, odd));
}

#else

using Sums = __m256;
constexpr int kSums = 2;
constexpr int kMostRows = 2;
constexpr bool kOffset = false;
using Codes = __m256i[8];

inline Sums zero_sums() { return _mm256_setzero_ps(); }
inline Sums all_sums(float x) { return _mm256_set1_ps(x); }
inline Sums add_product(Sums a, Sums b, Sums c) { return _mm256_fmadd_ps(a, b, c); }
inline Sums product(Sums a, Sums b) { return _mm256_mul_ps(a, b); }

inline Sums load_fp16(const uint8_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline void store_some(float* out, Sums x, int64_t width) {
  if (width >= 8) return _mm256_storeu_ps(out, x);
  float numbers[8];
  _mm256_storeu_ps(numbers, x);
  for (int64_t i = 0; i < width; ++i) out[i] = numbers[i];
}

inline __m256i load_bytes(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

// Of half a panel's rows, the eight vectors of codes [quad][8 rows][4]: q8 signed, the others unsigned.
template <WeightFormat Format>
inline void load_codes(const uint8_t* unit, int half, Codes& codes) {
  unit += half * 32;
  if constexpr (Format == WeightFormat::q8) {
    for (int quad = 0; quad < 8; ++quad) codes[quad] = load_bytes(unit + quad * 64);
  } else {
    const __m256i nibble = _mm256_set1_epi8(15), fifth = _mm256_set1_epi8(16);
    const __m256i fifths = Format == WeightFormat::q4 ? nibble : load_bytes(unit + kFifths);
    for (int quad = 0; quad < 4; ++quad) {
      const __m256i both = load_bytes(unit + quad * 64);
      codes[quad] = _mm256_and_si256(both, nibble);
      codes[quad + 4] = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
      if constexpr (Format != WeightFormat::q4) {
        codes[quad] = _mm256_or_si256(codes[quad], _mm256_and_si256(_mm256_slli_epi16(fifths, 4 - quad), fifth));
        codes[quad + 4] = _mm256_or_si256(codes[quad + 4], _mm256_and_si256(_mm256_srli_epi16(fifths, quad), fifth));
      }
    }
  }
}

// Sums of pairs fit 16 bits: of q8, |code| * (activation with the code's sign) is at most 128 * 127 * 2; of 4 bits even
// all eight pairs together, 15 * 127 * 16, and of 5 bits four, 31 * 127 * 8.
template <WeightFormat Format>
inline Sums dot(const Codes& codes, const int8_t* with, int32_t start, const uint8_t* ahead) {
  constexpr int kTogether = Format == WeightFormat::q8 ? 1 : Format == WeightFormat::q4 ? 8 : 4;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_set1_epi32(start);
  for (int first = 0; first < 8; first += kTogether) {
    __m256i pairs = _mm256_setzero_si256();
    for (int quad = first; quad < first + kTogether; ++quad) {
      if (quad % 2 == 0) ask_ahead<Format>(ahead, quad / 2);
      const __m256i x = _mm256_set1_epi32(four_bytes(with + 4 * quad));
      if constexpr (Format == WeightFormat::q8) {
        pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes[quad]), _mm256_sign_epi8(x, codes[quad]));
      } else {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes[quad], x));
      }
    }
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
  return _mm256_cvtepi32_ps(sum);
}

#endif

// Rows of a tile of activations, from some unit on.
struct ByteGroup {
  const int8_t* codes;
  const float* scale;
  const void* sum;
};

// What undoes that codes are taken as more than they are; `sum` is ByteRows::sum.
template <WeightFormat Format>
inline int32_t start_of(const void* sum, int row) {
  if (has_least(Format) || (Format == WeightFormat::q8 && !kOffset)) return 0;
  const int32_t of_128 = static_cast<const int32_t*>(sum)[row];
  return Format == WeightFormat::q8 ? of_128 : of_128 >> 3;
}
static_assert(kFifthOffset == 128 >> 3);

template <WeightFormat Format, int Rows>
inline void add_unit(const uint8_t* unit, const uint8_t* ahead, const ByteGroup& x, int part,
                     Sums (&sums)[Rows][kSums]) {
  Codes codes;
  load_codes<Format>(unit, part, codes);
  const uint8_t* behind = unit + code_bytes(Format) + part * (2 * kRows / kSums);
  const Sums scale = load_fp16(behind);
  for (int row = 0; row < Rows; ++row) {
    const int32_t start = start_of<Format>(x.sum, row);
    const uint8_t* const asked = row == 0 && part == 0 ? ahead : nullptr;
    const Sums dots = product(dot<Format>(codes, x.codes + row * kGroup, start, asked), scale);
    sums[row][part] = add_product(dots, all_sums(x.scale[row]), sums[row][part]);
    if constexpr (has_least(Format)) {
      const Sums least = load_fp16(behind + 2 * kRows);
      sums[row][part] = add_product(least, all_sums(static_cast<const float*>(x.sum)[row]), sums[row][part]);
    }
  }
}

template <WeightFormat Format, int Rows, int Panels>
void multiply_rows(const Product& p, const Streams& streams, int64_t panel, int64_t row) {
  constexpr int64_t kSize = unit_bytes(Format), kTurn = (kTurnBytes + kSize / 2) / kSize;
  const ByteRows rows(p.ready, p.rows, p.matrix.columns);
  const int64_t place = row / rows.height * rows.units * rows.height + row % rows.height;
  const ByteGroup x = {rows.codes + place * kGroup, rows.scale + place, static_cast<const float*>(rows.sum) + place};
  Sums sums[Panels][Rows][kSums];
  for (auto& of_panel : sums)
    for (auto& of_row : of_panel)
      for (Sums& sum : of_row) sum = zero_sums();
  for (int64_t first = 0; first < rows.units; first += kTurn) {
    const int64_t last = smaller(first + kTurn, rows.units);
#pragma GCC unroll 2
    for (int i = 0; i < Panels; ++i) {
      const uint8_t* unit = streams.base + i * streams.apart_bytes + first * kSize;
      for (int64_t u = first; u < last; ++u, unit += kSize) {
        const int64_t at = u * rows.height;
        const ByteGroup group = {x.codes + at * kGroup, x.scale + at, static_cast<const float*>(x.sum) + at};
        const uint8_t* const ahead = unit + streams.ahead(u);
        for (int part = 0; part < kSums; ++part) add_unit<Format, Rows>(unit, ahead, group, part, sums[i]);
      }
    }
  }
  for (int i = 0; i < Panels; ++i)
    for (int r = 0; r < Rows; ++r)
      for (int part = 0; part < kSums; ++part) {
        const int64_t at = panel + i * streams.apart, before = part * (kRows / kSums), width = p.width(at, 1) - before;
        if (width > 0) store_some(p.column(at) + (row + r) * p.out_stride + before, sums[i][r][part], width);
      }
}

// Some rows at a time (a tile's height is a multiple of four or all rows, so that they never lie in two tiles), the
// panels staying in the cache for all of them.
template <WeightFormat Format, int Panels>
void multiply_panels(const Product& p, int64_t panel, int64_t apart) {
  const Streams streams(p, panel, apart);
  int64_t row = 0;
  for (; row + kMostRows <= p.rows; row += kMostRows) multiply_rows<Format, kMostRows, Panels>(p, streams, panel, row);
  if (kMostRows > 3 && p.rows - row == 3) multiply_rows<Format, 3, Panels>(p, streams, panel, row);
  if (kMostRows > 2 && p.rows - row == 2) multiply_rows<Format, 2, Panels>(p, streams, panel, row);
  if (p.rows - row == 1) multiply_rows<Format, 1, Panels>(p, streams, panel, row);
}

template <WeightFormat Format>
void multiply_codes(const Product& p) {
  const int64_t apart = (p.last - p.first) / kWeightStreams;
  for (int64_t panel = p.first; panel < p.first + apart; ++panel) {
    multiply_panels<Format, kWeightStreams>(p, panel, apart);
  }
  for (int64_t panel = p.first + apart * kWeightStreams; panel < p.last; ++panel) {
    multiply_panels<Format, 1>(p, panel, 0);
  }
}

}  // namespace

void multiply_bytes(const Product& p) {
  choose_codes(p.matrix.format, [&](auto format) { multiply_codes<decltype(format)::value>(p); });
}

#else

void multiply_bytes(const Product&) {}  // never chosen at this level

#endif

WINDOWTAX_END_LEVEL
