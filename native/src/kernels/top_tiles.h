// Bounds on the scores of blocks (see top_blocks.cpp) through AMX tiles: 16 blocks are the rows of a tile, the query
// heads of a group its columns. A bound is one product: a query's positive numbers with the summaries' maxima, its
// negative ones with their minima.
//
// Summaries are bf16 as they lie. A query's number takes three columns in bf16, whose sum is the number: so bounds are
// as exact as in float32, and a group of four heads still fits.

#pragma once

#include "kernels/prefill_tiles.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

constexpr int64_t kBoundHeads = 4;  // query heads of a tile: a part of their numbers is a quarter of its columns
constexpr int64_t kNumberParts = 3;
constexpr int64_t kSquareBlocks = 16;
constexpr int64_t kTileRow = 64, kTileSize = 16 * kTileRow;  // bytes

// Numbers of a row of a tile, of `left` numbers that there are.
inline __mmask32 row_mask(int64_t left) { return left >= 32 ? ~0u : (1u << left) - 1; }

// The scratch: tiles of the queries of `heads` KV heads, and what a square of 16 blocks needs.
struct BoundTiles {
  int64_t chunks, each;  // of 32 channels; tiles for the query heads of a KV head
  uint8_t* queries;      // [heads][each][chunks][2: with minima, with maxima] tiles
  uint8_t* copied;       // [chunks][2: minima, maxima] tiles, where they are not in place
  float* products;       // a tile

  BoundTiles(int64_t k_dim, int64_t heads, int64_t group, uint8_t* scratch)
      : chunks((k_dim + 31) / 32), each((group + kBoundHeads - 1) / kBoundHeads) {
    queries = scratch;
    copied = queries + heads * each * bytes_of_dim();
    products = reinterpret_cast<float*>(copied + bytes_of_dim());
  }
  int64_t bytes_of_dim() const { return chunks * 2 * kTileSize; }
  int64_t bytes(int64_t heads) const { return (heads * each + 1) * bytes_of_dim() + kTileSize; }
  uint8_t* queries_of(int64_t head, int64_t tile) const { return queries + (head * each + tile) * bytes_of_dim(); }
};

// 32 numbers in parts of bf16, those behind the last one being zero.
struct NumberParts {
  __m512i part[kNumberParts];
  __mmask32 positive;

  NumberParts(const float* from, int64_t left) {
    const __mmask32 exist = row_mask(left);
    __m512 low = _mm512_maskz_loadu_ps(__mmask16(exist), from);
    __m512 high = _mm512_maskz_loadu_ps(__mmask16(exist >> 16), from + 16);
    const __m512 zero = _mm512_setzero_ps();
    positive = _mm512_cmp_ps_mask(low, zero, _CMP_GT_OQ) | uint32_t(_mm512_cmp_ps_mask(high, zero, _CMP_GT_OQ)) << 16;
    for (__m512i& one : part) {
      one = (__m512i)_mm512_cvtne2ps_pbh(high, low);
      low -= (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(one)), 16);
      high -= (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(one, 1)), 16);
    }
  }
};

// The lanes of four vectors as the rows of four columns.
inline void store_columns(const __m512i* of, uint8_t* to) {
  const __m512i low01 = _mm512_unpacklo_epi32(of[0], of[1]), low23 = _mm512_unpacklo_epi32(of[2], of[3]);
  const __m512i high01 = _mm512_unpackhi_epi32(of[0], of[1]), high23 = _mm512_unpackhi_epi32(of[2], of[3]);
  const __m512i rows[4] = {_mm512_unpacklo_epi64(low01, low23), _mm512_unpackhi_epi64(low01, low23),
                           _mm512_unpacklo_epi64(high01, high23), _mm512_unpackhi_epi64(high01, high23)};
  const auto place = [to](int64_t row) { return reinterpret_cast<__m128i*>(to + row * kTileRow); };
  for (int64_t r = 0; r < 4; ++r) {
    _mm_storeu_si128(place(r), _mm512_castsi512_si128(rows[r]));
    _mm_storeu_si128(place(r + 4), _mm512_extracti32x4_epi32(rows[r], 1));
    _mm_storeu_si128(place(r + 8), _mm512_extracti32x4_epi32(rows[r], 2));
    _mm_storeu_si128(place(r + 12), _mm512_extracti32x4_epi32(rows[r], 3));
  }
}

// The query heads of a KV head. Where fewer are left than a tile takes, the last one comes again, which changes no
// maximum.
void ready_bounds(const float* q, int64_t k_dim, int64_t group, const BoundTiles& tiles, uint8_t* to) {
  constexpr int64_t kColumns = kBoundHeads * 4;  // bytes
  for (int64_t n = 0; n < tiles.each * tiles.chunks; ++n, to += 2 * kTileSize) {
    const int64_t first = n / tiles.chunks * kBoundHeads, channel = n % tiles.chunks * 32;
    __m512i low[kNumberParts + 1][kBoundHeads] = {}, high[kNumberParts + 1][kBoundHeads] = {};
    for (int64_t i = 0; i < kBoundHeads; ++i) {
      const int64_t head = first + i < group ? first + i : group - 1;
      const NumberParts numbers(q + head * k_dim + channel, k_dim - channel);
      for (int64_t p = 0; p < kNumberParts; ++p) {
        low[p][i] = _mm512_maskz_mov_epi16(~numbers.positive, numbers.part[p]);
        high[p][i] = _mm512_maskz_mov_epi16(numbers.positive, numbers.part[p]);
      }
    }
    for (int64_t p = 0; p <= kNumberParts; ++p) {
      store_columns(low[p], to + p * kColumns);
      store_columns(high[p], to + kTileSize + p * kColumns);
    }
  }
}

// By row of products its bound: the greatest of the heads' sums of parts.
inline __m512 bounds_of(const float* products) {
  __m512 bounds = _mm512_setzero_ps();
  for (int64_t j = 0; j < 4; ++j) {
    __m512 sums = _mm512_setzero_ps();  // of rows j, 4 + j, 8 + j and 12 + j
    for (int64_t p = 0; p < kNumberParts; ++p) {
      const auto heads = [&](int64_t row) { return _mm_load_ps(products + row * 16 + p * kBoundHeads); };
      __m512 part = _mm512_castps128_ps512(heads(j));
      part = _mm512_mask_broadcast_f32x4(part, 0x00f0, heads(4 + j));
      part = _mm512_mask_broadcast_f32x4(part, 0x0f00, heads(8 + j));
      sums += _mm512_mask_broadcast_f32x4(part, 0xf000, heads(12 + j));
    }
    sums = _mm512_max_ps(sums, _mm512_permute_ps(sums, 0xb1));
    sums = _mm512_max_ps(sums, _mm512_permute_ps(sums, 0x4e));
    bounds = _mm512_mask_mov_ps(bounds, __mmask16(0x1111 << j), sums);
  }
  return bounds;
}

// The summaries of a span's heads, block by block.
struct Summaries {
  const Plane &minimum, &maximum;
  const int32_t* ids;
  int64_t count, offset, head_bytes;

  const uint8_t* low(int64_t i) const { return minimum.base + ids[i] * minimum.block_bytes + offset; }
  const uint8_t* high(int64_t i) const { return maximum.base + ids[i] * maximum.block_bytes + offset; }
  // Whether blocks first ... first + 15 lie one behind the other, as pools give them where they can, and in whole rows.
  bool in_place(int64_t first) const {
    if (head_bytes % kTileRow || first + kSquareBlocks > count) return false;
    const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i expected = _mm512_add_epi32(_mm512_set1_epi32(ids[first]), places);
    return _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(ids + first), expected) == 0xffff;
  }
};

// Fetches summaries into the L2 cache, row after row of both planes: some at each point of the work, because a burst
// stops the core, but four lines at a time, which the hardware's own prefetcher then continues. Of 16.3 GB/s that each of
// two cores reads at once, 14.6 are left to scoring; rows in turn 13.6; bursts of a third of a square 12.8.
class RowFeed {
 public:
  RowFeed(const Summaries& of, int64_t bytes) : of_(of), bytes_(bytes) { begin(); }

  void some(int64_t quads) {
    if (row_ >= limit_) return;
    do {
      __builtin_prefetch(from_, 0, 2);
      __builtin_prefetch(from_ + 64, 0, 2);
      __builtin_prefetch(from_ + 128, 0, 2);
      __builtin_prefetch(from_ + 192, 0, 2);
      from_ += kQuad;
      if (from_ < end_) continue;
      if (++row_ < 2 * of_.count) begin();
      if (row_ >= limit_) return;
    } while (--quads > 0);
  }
  // What is left of what may be fetched; from now on that ends at a block.
  void rest(int64_t block) {
    some(INT64_MAX);
    limit_ = 2 * (block < of_.count ? block : of_.count);
  }
  // Of a block.
  int64_t quads() const { return 2 * ((bytes_ + kQuad - 1) / kQuad); }

 private:
  static constexpr int64_t kQuad = 256;

  void begin() {
    from_ = row_ % 2 ? of_.high(row_ / 2) : of_.low(row_ / 2);
    end_ = from_ + bytes_;
  }

  const Summaries& of_;
  int64_t bytes_, row_ = 0, limit_ = 0;  // rows: two of each block
  const uint8_t *from_, *end_;
};

// 16 blocks' summaries of a KV head as rows of tiles: where they lie, from row to row and from chunk to chunk.
struct Square {
  const uint8_t *low, *high;
  int64_t low_stride, high_stride, chunk_stride;
};

// Behind the last block it comes again.
Square copy_square(const Summaries& of, int64_t first, int64_t offset, const BoundTiles& tiles) {
  for (int64_t row = 0; row < kSquareBlocks; ++row) {
    const int64_t i = first + row < of.count ? first + row : of.count - 1;
    const uint8_t *low = of.low(i) + offset, *high = of.high(i) + offset;
    uint8_t* to = tiles.copied + row * kTileRow;
    for (int64_t at = 0; at < of.head_bytes; at += kTileRow, to += 2 * kTileSize) {
      const __mmask32 exist = row_mask((of.head_bytes - at) / 2);
      _mm512_storeu_si512(to, _mm512_maskz_loadu_epi16(exist, low + at));
      _mm512_storeu_si512(to + kTileSize, _mm512_maskz_loadu_epi16(exist, high + at));
    }
  }
  return {tiles.copied, tiles.copied + kTileSize, kTileRow, kTileRow, 2 * kTileSize};
}

Square square_of(const Summaries& of, int64_t first, int64_t offset, const BoundTiles& tiles) {
  if (!of.in_place(first)) return copy_square(of, first, offset, tiles);
  return {of.low(first) + offset, of.high(first) + offset, of.minimum.block_bytes, of.maximum.block_bytes, kTileRow};
}

// The products of a square with a tile of queries; `quads` are fetched at each of its steps.
inline void multiply_square(const Square& square, const BoundTiles& tiles, const uint8_t* queries, RowFeed& feed,
                            int64_t quads) {
  TILE_ZERO(0);
  for (int64_t chunk = 0; chunk < tiles.chunks; ++chunk, queries += 2 * kTileSize) {
    TILE_LOAD(4, square.low + chunk * square.chunk_stride, square.low_stride);
    TILE_LOAD(6, queries, kTileRow);
    TILE_PRODUCT(0, 4, 6);
    feed.some(quads);
    TILE_LOAD(5, square.high + chunk * square.chunk_stride, square.high_stride);
    TILE_LOAD(7, queries + kTileSize, kTileRow);
    TILE_PRODUCT(0, 5, 7);
    feed.some(quads);
  }
  TILE_STORE(0, tiles.products, kTileRow);
}

int64_t bound_tiles_bytes(int64_t k_dim, int64_t heads, int64_t group) {
  return 64 + BoundTiles(k_dim, heads, group, nullptr).bytes(heads);
}

void score_blocks_in_tiles(const Summaries& of, const HeadSpan& heads, int64_t k_dim, const float* q, float* scores,
                           int64_t stride, void* scratch) {
  if (of.count == 0) return;
  RowFeed feed(of, heads.count * of.head_bytes);
  feed.rest(kSquareBlocks);
  feed.rest(2 * kSquareBlocks);
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(scratch) + 63) / 64 * 64;
  const BoundTiles tiles(k_dim, heads.count, heads.group, reinterpret_cast<uint8_t*>(aligned));
  for (int64_t h = 0; h < heads.count; ++h) {
    ready_bounds(q + h * heads.group * k_dim, k_dim, heads.group, tiles, tiles.queries_of(h, 0));
  }
  const int64_t points = heads.count * tiles.each * tiles.chunks * 2;
  const int64_t quads = (kSquareBlocks * feed.quads() + points - 1) / points;
  tiles_on();
  for (int64_t first = 0; first < of.count; first += kSquareBlocks) {
    const int64_t left = of.count - first;
    const __mmask16 exist = left >= kSquareBlocks ? __mmask16(-1) : __mmask16((1u << left) - 1);
    for (int64_t h = 0; h < heads.count; ++h) {
      const Square square = square_of(of, first, h * of.head_bytes, tiles);
      __m512 bounds = _mm512_set1_ps(-INFINITY);
      for (int64_t n = 0; n < tiles.each; ++n) {
        multiply_square(square, tiles, tiles.queries_of(h, n), feed, quads);
        bounds = _mm512_max_ps(bounds, bounds_of(tiles.products));
      }
      _mm512_mask_storeu_ps(scores + h * stride + first, exist, bounds);
    }
    feed.rest(first + 3 * kSquareBlocks);
  }
  tiles_off();
}

}  // namespace
WINDOWTAX_END_LEVEL

#endif
