// Products of many rows: AMX bf16 with fp32 sums. bf16 units are B tiles as they lie; q8 and q4 units are widened to
// such tiles in scratch, once for all rows.

#include "kernels/weights.h"
#include "kernels/weights_tiles.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AMX_TILE__)

namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kSpan = 64;     // units at a time of all panels: 256 rows of these stay in the second-level cache
constexpr int64_t kStretch = 10;  // of these, units widened at a time: they stay in the first-level cache for all rows

struct Scratch {
  alignas(64) float corner[kTileRows][kRows];
  alignas(64) uint8_t tiles[2 * kStretch * kTileBytes];
};
static_assert(sizeof(Scratch) <= kScratchBytes);

// Bytes become bf16 by way of fp32: a byte put into bits 8..15 of 1.0 makes 1 + byte / 2^15, and one multiply-add takes
// that to scale * code + least. The permutation lays both columns of a pair side by side at once.
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

 private:
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

// One tile of sums in memory: where it lies in `out` whole, there; else by way of a buffer.
struct Corner {
  float* at;
  int64_t stride;
  int64_t rows, width;

  bool whole(int64_t height) const { return rows >= height && width >= kRows; }
  void copy_in(float (*buffer)[kRows]) const {
    for (int64_t row = 0; row < smaller(rows, kTileRows); ++row)
      memcpy(buffer[row], at + row * stride, sizeof(float) * smaller(width, kRows));
  }
  void copy_out(const float (*buffer)[kRows]) const {
    for (int64_t row = 0; row < smaller(rows, kTileRows); ++row)
      memcpy(at + row * stride, buffer[row], sizeof(float) * smaller(width, kRows));
  }
};

// Weights that will be needed next, brought into the second-level cache meanwhile: two streams, some lines at a step.
struct Fetch {
  const uint8_t* at;
  const uint8_t* end;
  int64_t stride;  // from the one stream to the other
  int64_t step;    // bytes

  void operator()() {
    for (int64_t line = 0; line < step && at < end; line += 64, at += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(at + stride), _MM_HINT_T1);
    }
  }
};

// A stretch of up to two tiles of rows against up to two (four, if one tile of rows) panels.
struct Stretch {
  const uint16_t* a;
  int64_t a_stride;  // numbers from one tile of rows to the next
  const uint8_t* b;
  int64_t b_stride;  // bytes from one panel to the next
  int64_t units, height;
  Corner sums;
  bool add;
  float (*buffer)[kRows];
  Fetch fetch;

  Corner corner(int tile, int panel) const {
    return {sums.at + tile * height * sums.stride + panel * kRows, sums.stride, sums.rows - tile * height,
            sums.width - panel * kRows};
  }
};

// T: the tile of sums.
#define BEGIN_SUMS(T, corner)                       \
  do {                                              \
    if (!s.add) {                                   \
      TILE_ZERO(T);                                 \
    } else if ((corner).whole(s.height)) {          \
      TILE_LOAD(T, (corner).at, (corner).stride * 4); \
    } else {                                        \
      (corner).copy_in(s.buffer);                   \
      TILE_LOAD(T, s.buffer, 64);                   \
    }                                               \
  } while (0)
#define END_SUMS(T, corner)                            \
  do {                                                 \
    if ((corner).whole(s.height)) {                    \
      TILE_STORE(T, (corner).at, (corner).stride * 4); \
    } else {                                           \
      TILE_STORE(T, s.buffer, 64);                     \
      (corner).copy_out(s.buffer);                     \
    }                                                  \
  } while (0)

template <int Tiles, int Panels>
void multiply_stretch(Stretch& s) {
  const Corner c00 = s.corner(0, 0), c01 = s.corner(0, 1), c10 = s.corner(1, 0), c11 = s.corner(1, 1);
  BEGIN_SUMS(0, c00);
  if constexpr (Panels > 1) BEGIN_SUMS(1, c01);
  if constexpr (Tiles > 1) BEGIN_SUMS(2, c10);
  if constexpr (Tiles > 1 && Panels > 1) BEGIN_SUMS(3, c11);
  const uint16_t* a = s.a;
  const uint8_t* b = s.b;
  Fetch fetch = s.fetch;
  for (int64_t unit = 0; unit < s.units; ++unit, a += s.height * kGroup, b += kTileBytes) {
    fetch();
    TILE_LOAD(6, b, 64);
    TILE_LOAD(4, a, 64);
    TILE_BF16(0, 4, 6);
    if constexpr (Panels > 1) {
      TILE_LOAD(7, b + s.b_stride, 64);
      TILE_BF16(1, 4, 7);
    }
    if constexpr (Tiles > 1) {
      TILE_LOAD(5, a + s.a_stride, 64);
      TILE_BF16(2, 5, 6);
      if constexpr (Panels > 1) TILE_BF16(3, 5, 7);
    }
  }
  s.fetch = fetch;
  END_SUMS(0, c00);
  if constexpr (Panels > 1) END_SUMS(1, c01);
  if constexpr (Tiles > 1) END_SUMS(2, c10);
  if constexpr (Tiles > 1 && Panels > 1) END_SUMS(3, c11);
}

// One tile of rows, four panels at a time, so that four streams of weights arrive.
void multiply_four_panels(const Stretch& s) {
  const Corner c0 = s.corner(0, 0), c1 = s.corner(0, 1), c2 = s.corner(0, 2), c3 = s.corner(0, 3);
  TILE_ZERO(0);
  TILE_ZERO(1);
  TILE_ZERO(2);
  TILE_ZERO(3);
  const uint16_t* a = s.a;
  const uint8_t* b = s.b;
  for (int64_t unit = 0; unit < s.units; ++unit, a += s.height * kGroup, b += kTileBytes) {
    for (int panel = 0; panel < 4; ++panel) prefetch_ahead(b + panel * s.b_stride, kTileBytes);
    TILE_LOAD(4, a, 64);
    TILE_LOAD(6, b, 64);
    TILE_BF16(0, 4, 6);
    TILE_LOAD(7, b + s.b_stride, 64);
    TILE_BF16(1, 4, 7);
    TILE_LOAD(6, b + 2 * s.b_stride, 64);
    TILE_BF16(2, 4, 6);
    TILE_LOAD(7, b + 3 * s.b_stride, 64);
    TILE_BF16(3, 4, 7);
  }
  END_SUMS(0, c0);
  END_SUMS(1, c1);
  END_SUMS(2, c2);
  END_SUMS(3, c3);
}

#undef BEGIN_SUMS
#undef END_SUMS

// All rows against one or two panels.
void multiply_rows(Stretch s, int64_t tiles, int64_t panels) {
  for (int64_t tile = 0; tile < tiles; tile += 2) {
    if (tile + 1 < tiles) {
      panels == 2 ? multiply_stretch<2, 2>(s) : multiply_stretch<2, 1>(s);
    } else {
      panels == 2 ? multiply_stretch<1, 2>(s) : multiply_stretch<1, 1>(s);
    }
    s.a += 2 * s.a_stride;
    s.sums.at += 2 * s.height * s.sums.stride;
    s.sums.rows -= 2 * s.height;
  }
}

Stretch stretch_of(const Product& p, const Bf16Rows& x, int64_t panel, int64_t first, int64_t last) {
  Scratch& scratch = *static_cast<Scratch*>(p.scratch);
  return {x.x + first * x.height * kGroup,
          x.units * x.height * kGroup,
          p.panel(panel) + first * unit_bytes(p.matrix.format),
          x.units * unit_bytes(p.matrix.format),
          last - first,
          x.height,
          {p.column(panel), p.out_stride, p.rows, (p.matrix.rows - panel * kPanelRows)},
          first > 0,
          scratch.corner,
          {}};
}

// What is fetched during a stretch of `tiles` tiles of rows: the same units of the next two panels.
Fetch fetch_of(const Stretch& s, WeightFormat format, int64_t tiles, int64_t panels) {
  const int64_t size = unit_bytes(format), passes = (tiles + 1) / 2;
  const uint8_t* next = s.b + 2 * s.b_stride;
  return {next, panels > 0 ? next + s.units * size : next, panels > 1 ? s.b_stride : 0,
          (size + 64 * passes - 1) / (64 * passes) * 64};
}

// Turns the stretch's weights into tiles in scratch.
void widen(const Product& p, const Widener& widener, Stretch& s, int64_t panels) {
  uint8_t* tile = static_cast<Scratch*>(p.scratch)->tiles;
  const uint8_t* from = s.b;
  const int64_t from_stride = s.b_stride, size = unit_bytes(p.matrix.format);
  s.b = tile;
  s.b_stride = s.units * kTileBytes;
  for (int64_t panel = 0; panel < panels; ++panel)
    for (int64_t unit = 0; unit < s.units; ++unit, tile += kTileBytes) {
      const uint8_t* codes = from + panel * from_stride + unit * size;
      p.matrix.format == WeightFormat::q8 ? widener.q8(codes, tile) : widener.q4(codes, tile);
    }
}

// The length of equal parts of `count`, each at most `most`.
int64_t even_share(int64_t count, int64_t most) {
  const int64_t parts = (count + most - 1) / most;
  return (count + parts - 1) / parts;
}

}  // namespace

void multiply_bf16_tiles(const Product& p) {
  const Bf16Rows x(p.ready, p.rows, p.matrix.columns);
  const Tiles tiles(x.height, 64, kColumns / 2);
  const bool ready_tiles = p.matrix.format == WeightFormat::bf16;
  const Widener widener;
  int64_t begin = p.first;
  if (ready_tiles && x.tiles == 1)
    for (; begin + 4 <= p.last; begin += 4) multiply_four_panels(stretch_of(p, x, begin, 0, x.units));
  const int64_t span = even_share(x.units, kSpan), stretch = ready_tiles ? span : even_share(span, kStretch);
  for (int64_t from = 0; from < x.units; from += span)
    for (int64_t panel = begin; panel < p.last; panel += 2)
      for (int64_t first = from; first < smaller(from + span, x.units); first += stretch) {
        const int64_t panels = smaller(2, p.last - panel);
        Stretch s = stretch_of(p, x, panel, first, smaller(first + stretch, smaller(from + span, x.units)));
        s.fetch = fetch_of(s, p.matrix.format, x.tiles, p.last - panel - 2);
        if (!ready_tiles) widen(p, widener, s, panels);
        multiply_rows(s, x.tiles, panels);
      }
}

#else

void multiply_bf16_tiles(const Product&) {}  // never chosen at this level

#endif

WINDOWTAX_END_LEVEL
