// What the sources weights*.cpp share: the ways of multiplying, the forms of activations that they read, and who does
// which. Private to weights*.cpp, and to the gauge, which reads as they do.

#pragma once

#include "kernels/parts.h"
#include "kernels/weights_layout.h"

WINDOWTAX_BEGIN_LEVEL

// How a product is made. Chosen by format and rows alone, the same way in ready_bytes, make_ready and multiply.
enum class Way {
  floats,      // fp32 multiply-add on fp32 activations; other formats than f32 are widened unit by unit first
  wide_bf16,   // the same for few rows of bf16, widened in registers
  bytes,       // codes: dot products of bytes (VNNI) on activations quantised per row and group
  byte_tiles,  // codes: AMX int8 on the same activations
  bf16_tiles,  // AMX bf16; of more than one tile of rows by multiply_into, where codes are widened to bf16 tiles
};
Way way_of(WeightFormat format, int64_t rows);

// Calls fn(integral constant) for a format of codes, so that a template is chosen at run time.
template <WeightFormat Format>
struct CodeFormat {
  static constexpr WeightFormat value = Format;
};
template <typename Fn>
inline void choose_codes(WeightFormat format, Fn fn) {
  if (format == WeightFormat::q8) return fn(CodeFormat<WeightFormat::q8>());
  if (format == WeightFormat::q5) return fn(CodeFormat<WeightFormat::q5>());
  if (format == WeightFormat::q5_least) return fn(CodeFormat<WeightFormat::q5_least>());
  return fn(CodeFormat<WeightFormat::q4>());
}

// Rows of activations lie in tiles of this height (the last padded with zeros): few rows alone, else in steps of 4.
inline int64_t tile_height(int64_t rows) {
  return rows <= 4 ? rows : smaller((rows + 3) / 4 * 4, kTileRows);
}

// One call of multiply.
struct Product {
  Matrix matrix;
  const void* ready;
  int64_t rows;
  int64_t first, last;  // panels
  float* out;
  int64_t out_stride;
  void* scratch;

  const uint8_t* panel(int64_t index) const {
    return matrix.data + index * matrix.units() * unit_bytes(matrix.format);
  }
  float* column(int64_t panel) const { return out + (panel - first) * kPanelRows; }
  // How many of `panels` panels' rows from `panel` on there are.
  int64_t width(int64_t panel, int64_t panels) const {
    return smaller(panels * kPanelRows, matrix.rows - panel * kPanelRows);
  }
};

// fp32 activations: [rows][units * 32], zero past the columns.
struct FloatRows {
  const float* x;
  int64_t stride;
  FloatRows(const void* ready, int64_t columns)
      : x(static_cast<const float*>(ready)), stride(units_of(columns) * kGroup) {}
};

// Activations in bytes, x = scale * code, code in -127..127, tile after tile, in each unit after unit: codes
// [tiles][units][height][32], scales [tiles][units][height], and of the codes' sums what the format needs, in the same
// arrangement: without a least -128 * sum (int32), with one scale * sum (fp32).
struct ByteRows {
  int64_t height, tiles, units;
  int8_t* codes;
  float* scale;
  void* sum;
  ByteRows(const void* ready, int64_t rows, int64_t columns);
  int64_t bytes() const { return tiles * units * height * (kGroup + 8); }
};

inline ByteRows::ByteRows(const void* ready, int64_t rows, int64_t columns)
    : height(tile_height(rows)), tiles(height ? (rows + height - 1) / height : 0), units(units_of(columns)) {
  const int64_t count = tiles * units * height;
  codes = static_cast<int8_t*>(const_cast<void*>(ready));
  scale = reinterpret_cast<float*>(codes + count * kGroup);
  sum = scale + count;
}

// bf16 activations: A tiles [tiles][units][height][32].
struct Bf16Rows {
  int64_t height, tiles, units;
  uint16_t* x;
  Bf16Rows(const void* ready, int64_t rows, int64_t columns)
      : height(tile_height(rows)),
        tiles(height ? (rows + height - 1) / height : 0),
        units(units_of(columns)),
        x(static_cast<uint16_t*>(const_cast<void*>(ready))) {}
  int64_t bytes() const { return tiles * units * height * kGroup * 2; }
};

// A unit of any format as float32 [32 columns][16 rows].
void unit_to_f32(WeightFormat format, const uint8_t* unit, float* out);

void multiply_floats(const Product& product);
void multiply_wide_bf16(const Product& product);
void multiply_bytes(const Product& product);
void multiply_byte_tiles(const Product& product);
void multiply_bf16_tiles(const Product& product);  // up to kTileRows rows of bf16
void multiply_into(const Matrix& matrix, const void* ready, int64_t rows, int64_t first_panel, int64_t last_panel,
                   const Finish& finish, void* scratch);

// Scratch of a multiply of any kind: one large page.
constexpr int64_t kScratchBytes = 2 << 20;

// Weights come from memory: what is read some KiB later is fetched, into the L2 cache, while the units before it are
// multiplied; each line on its own between the instructions of a product. The compiler would put them all in front, and
// 16 in a row fill what the L1 cache can have under way: two threads read 30 GB/s so, and 38 line by line.
inline void prefetch_line(const uint8_t* from) {
  __builtin_prefetch(from, 0, 2);
  asm volatile("" : : : "memory");
}

// The same for one stream, a unit at a time.
inline void prefetch_ahead(const uint8_t* unit, int64_t bytes) {
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(unit + kWeightsAhead + line, 0, 2);
}

// How one to four rows read the panels of a call: kWeightStreams of them in turn, some kTurnBytes from each, because a
// core keeps more under way in two places than in one. Measured on 512 MB with two threads, in GB/s: one stream 30; two
// 37 to 40, the further apart the better (9 KiB: 32); four the same; turns of 256 bytes 32, of 4 KiB 26.
constexpr int64_t kTurnBytes = 1024;
constexpr int64_t kStreamAhead = 4096;  // 6 KiB are 2% slower for bf16, up to 9% for codes

// Where streams are: at a panel of the first one and, `apart` panels further, of the second. The first goes from p.first
// to p.first + apart.
struct Streams {
  const uint8_t* base;                  // of the first stream's panel
  int64_t apart, apart_bytes;           // in panels, and in bytes
  int64_t left;                         // of the first stream, in units, from the panel's first one on
  int64_t ahead_units, ahead_bytes;

  Streams(const Product& p, int64_t panel, int64_t apart)
      : base(p.panel(panel)),
        apart(apart),
        apart_bytes(apart * p.matrix.units() * unit_bytes(p.matrix.format)),
        left((p.first + apart - panel) * p.matrix.units()),
        ahead_units(kStreamAhead / unit_bytes(p.matrix.format)),
        ahead_bytes(ahead_units * unit_bytes(p.matrix.format)) {}

  // From unit i of a panel to the one that is fetched beside it; behind the stream's end, in the panels of the next call.
  int64_t ahead(int64_t i) const { return i + ahead_units < left ? ahead_bytes : ahead_bytes + apart_bytes; }
};

#if defined(__AVX512F__)
// A unit's scales or leasts.
inline __m512 load_fp16(const uint8_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// A vector that is loaded once: gcc would load it again beside each of its uses, and across cache lines, as every other
// unit of 5 bits lies, each load is two.
inline __m512i load_once(const uint8_t* from) {
  __m512i x = _mm512_loadu_si512(from);
  asm("" : "+v"(x));
  return x;
}

// The codes from 0 on of quads `quad` and `quad + 4`, quad < 4. fifths: all of the unit's, where the format has them.
template <WeightFormat Format>
inline void load_quads(const uint8_t* unit, __m512i fifths, int quad, __m512i& low, __m512i& high) {
  const __m512i nibble = _mm512_set1_epi8(15), fifth = _mm512_set1_epi8(16);
  const __m512i both = load_once(unit + quad * 64);
  low = _mm512_and_si512(both, nibble);
  high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
  if constexpr (Format == WeightFormat::q4) return;
  low = _mm512_or_si512(low, _mm512_and_si512(_mm512_slli_epi16(fifths, 4 - quad), fifth));
  high = _mm512_or_si512(high, _mm512_and_si512(_mm512_srli_epi16(fifths, quad), fifth));
}

template <WeightFormat Format>
inline __m512i load_fifths(const uint8_t* unit) {
  return Format == WeightFormat::q4 ? _mm512_setzero_si512() : load_once(unit + kFifths);
}

// Of a panel's 16 rows, those that the matrix has.
inline __mmask16 row_mask(int64_t width) {
  return width >= kPanelRows ? 0xffff : static_cast<__mmask16>((1u << width) - 1);
}
#endif

void pack(WeightFormat format, const float* values, int64_t rows, int64_t columns, uint8_t* out);
void pack_codes(WeightFormat format, const int8_t* codes, const float* scale, const float* least, int64_t rows,
                int64_t columns, uint8_t* out);
void unpack_row(const Matrix& matrix, int64_t row, float* out);
int64_t ready_bytes(WeightFormat format, int64_t rows, int64_t columns);
void make_ready(WeightFormat format, const float* x, int64_t stride, int64_t rows, int64_t columns, void* ready);

WINDOWTAX_END_LEVEL
