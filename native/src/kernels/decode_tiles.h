// What decode attention through AMX tiles shares. A key or value block is the B tile as it lies in memory (f8 blocks, 4-bit
// values and the low half of 4-bit keys are unpacked first); the query heads of the group are rows of the A tile.
//
// A tile has 16 rows and a group seldom more than 8 heads, so every head takes two rows, a coarse and a fine part of
// its numbers: bf16 + bf16 of the rest, or the high and the low byte of a 16-bit integer. That costs nothing and makes
// the products about as exact as in float32.
//
// While tiles are in use, the second port of floating vectors stands still (64 products of 16 floats take 8.4 ns, and
// 16.9 with one tile instruction among them; integers are not slower): so it is their number that counts here.

#pragma once

#include "kernels/attention_piece.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL

constexpr int64_t kTileHeads = 8;     // heads per tile of queries, two rows each
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileBytes = 1024;  // of a full tile
constexpr int64_t kRowStride = 64;

constexpr bool is_integer(Element e) { return e == Element::i8 || is_nibble(e); }

// Tile registers: 0..3 sums, 4 queries or weights, 5 keys or values; for i8 values 6 weights, 7 values, since the 32
// tokens of a block are only 8 rows of quads there. Two unpacked blocks of i4 are one tile.
struct alignas(64) TileConfig {
  uint8_t palette, start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// The compiler does not see what these instructions read and write, so each is a barrier to it.
#define LOAD_TILE(tile, from, stride) \
  asm volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(int64_t(stride)) : "memory")
#define STORE_TILE(tile, to, stride) \
  asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"(int64_t(stride)) : "memory")
#define ZERO_TILE(tile) asm volatile("tilezero %%tmm" #tile ::)
#define MULTIPLY_TILES(operation, c, a, b) asm volatile(operation " %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

// How the rows of words of a key block are cut into tiles of 16: the last one overlaps the one before, and its queries
// are zero where it does.
struct Cut {
  int64_t rows, chunks;

  static Cut of(Element e, int64_t dim) {
    const int64_t rows = dim / (is_integer(e) ? 4 : 2);
    return {rows, (rows + kTileRows - 1) / kTileRows};
  }
  int64_t start(int64_t chunk) const {
    return chunk + 1 < chunks ? chunk * kTileRows : rows - kTileRows;
  }
};

static inline int64_t tile_heads(int64_t group) { return group < kTileHeads ? group : kTileHeads; }
static inline int64_t head_tiles(int64_t group) { return (group + kTileHeads - 1) / kTileHeads; }

// Between rows of weights: whole cache lines, and not all in the same sets.
constexpr int64_t weight_row(bool integer) { return kPieceTokens * (integer ? 1 : 2) + 64; }

// The parts of work.tiles, of `heads` KV heads with `each` tiles of query heads. All of them compete with keys and values
// for the L1 cache: places for eight blocks in place of four made attention over k4v4 a sixth slower.
struct Tiles {
  int64_t each;
  // For the whole run.
  uint8_t* queries;    // [heads][each][chunks][16 rows][64 bytes]; for i4_channel in bf16, for its tail
  float* query_scale;  // [heads][each][8]: of integer queries
  // While keys are scored; in the same place as what follows.
  uint8_t* folded;  // [kPieceBlocks][chunks][16 rows][64 bytes]: the queries of i4_channel, block by block
  float* raw;       // [kPieceBlocks][16 rows][32 tokens]: products as they come from the tiles
  uint8_t* keys;    // [kPieceBlocks] blocks unpacked to bf16 or i8
  // While values are weighed.
  uint8_t* weights;  // [heads][each][16 rows] of weight_row: in bf16 or bytes
  float* unit;       // [heads][each][8]: what a product with integer weights counts
  float* sums;       // [heads][each][16 rows][v_dim]
  uint8_t* values;   // [kPieceBlocks] blocks unpacked to bf16 or i8, one behind the other
  int64_t bytes;

  static Tiles at(uint8_t* base, int64_t k_dim, int64_t v_dim, int64_t heads, int64_t group) {
    Tiles tiles = {};
    int64_t used = 0;
    const auto take = [&](int64_t bytes) {
      uint8_t* part = base ? base + used : nullptr;
      used += (bytes + 63) / 64 * 64;
      return part;
    };
    const auto floats = [&](int64_t count) { return reinterpret_cast<float*>(take(4 * count)); };
    tiles.each = head_tiles(group);
    const int64_t all = heads * tiles.each;
    tiles.queries = take(all * (k_dim / 32 + 1) * kTileBytes);
    tiles.query_scale = floats(all * kTileHeads);
    const int64_t shared = used;
    tiles.folded = take(kPieceBlocks * (k_dim / 32 + 1) * kTileBytes);
    tiles.raw = floats(kPieceBlocks * kTileRows * kBlockTokens);
    tiles.keys = take(kPieceBlocks * 2 * kBlockTokens * k_dim);
    const int64_t scored = used;
    used = shared;
    tiles.weights = take(all * kTileRows * weight_row(false));
    tiles.unit = floats(all * kTileHeads);
    tiles.sums = floats(all * kTileRows * v_dim);
    tiles.values = take(kPieceBlocks * 2 * kBlockTokens * v_dim);
    tiles.bytes = used > scored ? used : scored;
    return tiles;
  }
};

// So many of a group's query heads are in tile `tile`.
static inline int64_t heads_in(int64_t group, int64_t tile) {
  const int64_t left = group - tile * kTileHeads;
  return left < kTileHeads ? left : kTileHeads;
}

// Writes 16 numbers in two parts of 16 bits.
static inline void split_bf16(__m512 x, uint8_t* coarse, uint8_t* fine) {
  const __m256i high = (__m256i)_mm512_cvtneps_pbh(x);
  const __m512 rest = x - (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(coarse), high);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(fine), (__m256i)_mm512_cvtneps_pbh(rest));
}

// A sum with this has the nearest integer in its low half, for one of at most 16 bits: no conversion, and nothing to pack
// before its bytes are taken.
constexpr float kIntegerInLowHalf = 12582912.0f;  // 1.5 * 2^23

// Which bytes of two vectors of words are their lowest ones, and which those above.
struct ByteOrder {
  alignas(64) uint8_t of[64];

  constexpr ByteOrder() : of() {
    for (int i = 0; i < 64; ++i) of[i] = uint8_t(i % 32 * 4 + i / 32);
  }
};
inline constexpr ByteOrder kByteOrder;

// Of 64 integers in the low halves of words.
struct Bytes {
  __m512i low, high;
};

static inline Bytes bytes_of(const __m512i* x) {
  const __m512i order = _mm512_load_si512(kByteOrder.of);
  const __m512i first = _mm512_permutex2var_epi8(x[0], order, x[1]);
  const __m512i second = _mm512_permutex2var_epi8(x[2], order, x[3]);
  return {_mm512_shuffle_i64x2(first, second, 0x44), _mm512_shuffle_i64x2(first, second, 0xee)};
}

// 256 * coarse + fine of 16 integer products, which is below 2^31 in size.
static inline __m512i whole_of(const float* coarse, const float* fine) {
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(-1, 0, 1, 2, -1, 4, 5, 6, -1, 8, 9, 10, -1, 12, 13, 14));
  return _mm512_add_epi32(_mm512_shuffle_epi8(_mm512_loadu_si512(coarse), order), _mm512_loadu_si512(fine));
}

// Bytes of nibbles of i4 to twice as many signed bytes, 16 * nibble: first all low ones, then all high ones.
static inline void unpack_nibbles(const uint8_t* from, int64_t bytes, uint8_t* to) {
  const __m512i mask = _mm512_set1_epi8(int8_t(0xf0));
  for (int64_t i = 0; i < bytes; i += 64) {
    const __m512i x = _mm512_loadu_si512(from + i);
    _mm512_storeu_si512(to + i, _mm512_and_si512(_mm512_slli_epi16(x, 4), mask));
    _mm512_storeu_si512(to + bytes + i, _mm512_and_si512(x, mask));
  }
}

// The bf16 of the 128 sizes of f8, by byte.
struct F8Table {
  alignas(64) uint8_t low[128], high[128];

  constexpr F8Table() : low(), high() {
    for (int code = 0; code < 128; ++code) {
      int exponent = code >> 3, mantissa = code & 7;
      if (exponent == 0 && mantissa) {  // subnormal: shift until the leading bit is there
        exponent = 1;
        while (!(mantissa & 8)) mantissa <<= 1, --exponent;
        mantissa &= 7;
      } else if (exponent == 0) {
        exponent = -120;
      }
      const int bits = code == 127 ? 0x7fc0 : (exponent + 120) << 7 | mantissa << 4;
      low[code] = uint8_t(bits & 0xff);
      high[code] = uint8_t(bits >> 8);
    }
  }
};
inline constexpr F8Table kF8;

// Rows of quads of f8 to twice as many rows of pairs in bf16: of a quad's numbers first 0 and 2, then 1 and 3, so that no
// byte leaves its word (shuffles, which have one port only, took half of the time). in_pairs: the other factor's order.
static inline void unpack_f8(const uint8_t* from, int64_t rows, int64_t row_bytes, uint8_t* to) {
  const __m512i low0 = _mm512_load_si512(kF8.low), low1 = _mm512_load_si512(kF8.low + 64);
  const __m512i high0 = _mm512_load_si512(kF8.high), high1 = _mm512_load_si512(kF8.high + 64);
  const __m512i sign = _mm512_set1_epi8(int8_t(0x80));
  const __m512i first = _mm512_set1_epi16(0x00ff), second = _mm512_set1_epi16(int16_t(0xff00));
  constexpr int kOrAnd = 0xf8;  // of vpternlogd: a | (b & c)
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < row_bytes; i += 64) {
      const __m512i x = _mm512_loadu_si512(from + r * row_bytes + i);
      const __m512i low = _mm512_permutex2var_epi8(low0, x, low1);
      const __m512i size = _mm512_permutex2var_epi8(high0, x, high1);
      const __m512i high = _mm512_ternarylogic_epi32(size, x, sign, kOrAnd);
      _mm512_storeu_si512(to + 2 * r * row_bytes + i,
                          _mm512_ternarylogic_epi32(_mm512_slli_epi16(high, 8), low, first, kOrAnd));
      _mm512_storeu_si512(to + (2 * r + 1) * row_bytes + i,
                          _mm512_ternarylogic_epi32(_mm512_srli_epi16(low, 8), high, second, kOrAnd));
    }
  }
}

// Numbers in the order of what they are multiplied with: of each quad 0, 2, 1, 3 where that is f8.
template <bool kF8>
static inline __m512 in_pairs(__m512 x) {
  if constexpr (kF8) return _mm512_permute_ps(x, 0xd8);
  return x;
}

// Whether the blocks are tiles as they lie.
template <Element E>
constexpr bool kInPlace = E == Element::bf16 || E == Element::i8;

// Whether tiles take the element at all.
constexpr bool is_tile_element(Element e) { return e != Element::f32 && e != Element::f16; }

// Calls fn for the elements that tiles take.
template <typename Fn>
static inline void choose_tiles(Element element, Fn fn) {
  choose(element, [&](auto chosen) {
    if constexpr (is_tile_element(decltype(chosen)::value)) fn(chosen);
  });
}

WINDOWTAX_END_LEVEL

#endif
