// Products of decode batches with codes: AMX int8 on the codes as they are. One tile product is one group of 32
// columns, whose integer sums are scaled and added up in registers.

#include "kernels/weights.h"
#include "kernels/weights_tiles.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AMX_TILE__)

namespace {

// A tile load does not take its bytes from stores still under way, nor a vector load those of a tile store: it waits
// until they are in the cache. So nibbles are widened kLead units ahead of their product, and sums read kLag behind.
constexpr int64_t kLead = 4, kLag = 2, kRing = 8;

struct Buffers {
  alignas(64) uint8_t codes[kRing][512];
  alignas(64) int32_t dots[kRing][kTileRows][kRows];
};

// Nibbles (and fifth bits) to bytes [8 quads][16 rows][4], q5's with their sign.
template <WeightFormat Format>
inline void widen_codes(const uint8_t* unit, uint8_t* out) {
  const __m512i fifths = load_fifths<Format>(unit), offset = _mm512_set1_epi8(kFifthOffset);
#pragma GCC unroll 4
  for (int quad = 0; quad < 4; ++quad) {
    __m512i low, high;
    load_quads<Format>(unit, fifths, quad, low, high);
    if constexpr (!has_least(Format)) low = _mm512_sub_epi8(low, offset), high = _mm512_sub_epi8(high, offset);
    _mm512_store_si512(out + quad * 64, low);
    _mm512_store_si512(out + quad * 64 + 256, high);
  }
}

// A tile of activations: codes [units][height][32], scales and sums [units][height].
struct ByteTile {
  const int8_t* codes;
  const float* scale;
  const float* sum;
};

template <WeightFormat Format>
inline void unit_products(const uint8_t* unit, const int8_t* codes, int64_t at, Buffers& buffers) {
  prefetch_ahead(unit, unit_bytes(Format));
  TILE_ZERO(0);
  TILE_LOAD(4, codes, kGroup);
  TILE_LOAD(6, Format == WeightFormat::q8 ? unit : buffers.codes[at % kRing], 64);
  TILE_INT8(0, 4, 6);
  TILE_STORE(0, buffers.dots[at % kRing], 64);
}

template <WeightFormat Format, int Height>
inline void add_unit(const uint8_t* unit, const float* scale, const float* sum, const int32_t (*dots)[kRows],
                     __m512 (&sums)[Height]) {
  const __m512 unit_scale = load_fp16(unit + code_bytes(Format));
#pragma GCC unroll 16
  for (int row = 0; row < Height; ++row) {
    const __m512 dot = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(dots[row])), unit_scale);
    sums[row] = _mm512_fmadd_ps(dot, _mm512_set1_ps(scale[row]), sums[row]);
  }
  if constexpr (has_least(Format)) {
    const __m512 least = load_fp16(unit + code_bytes(Format) + 2 * kRows);
#pragma GCC unroll 16
    for (int row = 0; row < Height; ++row) sums[row] = _mm512_fmadd_ps(least, _mm512_set1_ps(sum[row]), sums[row]);
  }
}

template <WeightFormat Format, int Height>
inline void panel_sums(const uint8_t* panel, int64_t units, const ByteTile& x, Buffers& buffers,
                       __m512 (&sums)[Height]) {
  constexpr int64_t kSize = unit_bytes(Format);
  for (int row = 0; row < Height; ++row) sums[row] = _mm512_setzero_ps();
  for (int64_t i = -kLead; i < units + kLag; ++i) {
    const int64_t ahead = i + kLead, behind = i - kLag;
    if constexpr (Format != WeightFormat::q8)
      if (ahead < units) widen_codes<Format>(panel + ahead * kSize, buffers.codes[ahead % kRing]);
    if (i >= 0 && i < units) unit_products<Format>(panel + i * kSize, x.codes + i * Height * kGroup, i, buffers);
    if (behind >= 0)
      add_unit<Format, Height>(panel + behind * kSize, x.scale + behind * Height, x.sum + behind * Height,
                               buffers.dots[behind % kRing], sums);
  }
}

template <int Height>
inline void store_sums(const __m512 (&sums)[Height], float* out, int64_t stride, int64_t rows, int64_t width) {
  const __mmask16 mask = row_mask(width);
#pragma GCC unroll 16
  for (int row = 0; row < Height; ++row)
    if (row < rows) _mm512_mask_storeu_ps(out + row * stride, mask, sums[row]);
}

template <WeightFormat Format, int Height>
void multiply_tiles(const Product& p) {
  const ByteRows x(p.ready, p.rows, p.matrix.columns);
  const Tiles tiles(Height, kGroup, kColumns / 4);
  Buffers& buffers = *static_cast<Buffers*>(p.scratch);
  for (int64_t panel = p.first; panel < p.last; ++panel)
    for (int64_t tile = 0; tile < x.tiles; ++tile) {
      const int64_t place = tile * x.units * Height, first = tile * Height;
      const ByteTile rows = {x.codes + place * kGroup, x.scale + place, static_cast<const float*>(x.sum) + place};
      __m512 sums[Height];
      panel_sums<Format, Height>(p.panel(panel), x.units, rows, buffers, sums);
      store_sums<Height>(sums, p.column(panel) + first * p.out_stride, p.out_stride, p.rows - first,
                         p.width(panel, 1));
    }
}

template <WeightFormat Format>
void multiply_format(const Product& p) {
  switch (tile_height(p.rows)) {  // fewer rows than five never come here
    case 8:
      return multiply_tiles<Format, 8>(p);
    case 12:
      return multiply_tiles<Format, 12>(p);
    default:
      return multiply_tiles<Format, 16>(p);
  }
}

}  // namespace

void multiply_byte_tiles(const Product& p) {
  choose_codes(p.matrix.format, [&](auto format) { multiply_format<decltype(format)::value>(p); });
}

#else

void multiply_byte_tiles(const Product&) {}  // never chosen at this level

#endif

WINDOWTAX_END_LEVEL
