// Scores of a piece's keys through AMX tiles.

#include "kernels/decode_tiles.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL

namespace {

// Writes 16 integers of at most 32512 in two signed bytes: 256 * coarse + fine.
inline void split_signed(__m512 x, uint8_t* coarse, uint8_t* fine) {
  const __m512i whole = _mm512_cvtps_epi32(x);
  const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(128)), 8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(coarse), _mm512_cvtepi32_epi8(high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(fine), _mm512_cvtepi32_epi8(whole));
}

constexpr float kQueryLimit = 32512.0f;  // 127 * 256
// The same, so that 256 times `most` channels' products with a byte stay below 2^31 (see whole_of).
inline float query_limit(int64_t dim, int64_t most) {
  return dim <= most ? kQueryLimit : kQueryLimit * float(most) / float(dim);
}
constexpr int64_t kMostSigned = 512, kMostUnsigned = 256;

// Where 16 channels of a head from `channel` on lie in the tiles of queries. numbers: per 64-byte row.
inline uint8_t* query_place(uint8_t* queries, const Cut& cut, int64_t numbers, int64_t channel) {
  const int64_t chunk = channel / numbers;
  const int64_t place = channel - cut.start(chunk) * numbers / kTileRows;
  return queries + chunk * kTileBytes + place * (64 / numbers);
}

template <bool kF8>
void ready_bf16(const float* q, int64_t dim, int64_t group, uint8_t* queries) {
  const Cut cut = Cut::of(Element::bf16, dim);
  const int64_t heads = tile_heads(group);
  std::memset(queries, 0, size_t(head_tiles(group) * cut.chunks * kTileBytes));
  for (int64_t g = 0; g < group; ++g) {
    uint8_t* tile = queries + g / kTileHeads * cut.chunks * kTileBytes + g % kTileHeads * kRowStride;
    for (int64_t c = 0; c < dim; c += 16) {
      uint8_t* to = query_place(tile, cut, 32, c);
      split_bf16(in_pairs<kF8>(_mm512_loadu_ps(q + g * dim + c)), to, to + heads * kRowStride);
    }
  }
}

float greatest_size(const float* x, int64_t count) {
  __m512 greatest = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += 16) greatest = _mm512_max_ps(greatest, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
  return _mm512_reduce_max_ps(greatest);
}

// scale: by head, what a query's integer counts; 0 for a zero query.
void ready_integers(const float* q, int64_t dim, int64_t group, uint8_t* queries, float* scale) {
  const Cut cut = Cut::of(Element::i8, dim);
  const int64_t heads = tile_heads(group);
  const float limit = query_limit(dim, kMostSigned);
  std::memset(queries, 0, size_t(head_tiles(group) * cut.chunks * kTileBytes));
  for (int64_t g = 0; g < group; ++g) {
    uint8_t* tile = queries + g / kTileHeads * cut.chunks * kTileBytes + g % kTileHeads * kRowStride;
    const float greatest = greatest_size(q + g * dim, dim), factor = greatest > 1e-30f ? limit / greatest : 0.0f;
    scale[g] = greatest / limit;
    for (int64_t c = 0; c < dim; c += 16) {
      uint8_t* to = query_place(tile, cut, 64, c);
      split_signed(_mm512_loadu_ps(q + g * dim + c) * factor, to, to + heads * kRowStride);
    }
  }
}

// What a block's queries count, by head: score = scale * product + offset.
struct Fold {
  float scale[kTileHeads], offset[kTileHeads];
};

// op over the lanes of each of four vectors, one result per lane.
template <typename Op>
inline __m128 over_lanes(const __m512* of, Op op) {
  const __m512 ab = op(_mm512_unpacklo_ps(of[0], of[1]), _mm512_unpackhi_ps(of[0], of[1]));
  const __m512 cd = op(_mm512_unpacklo_ps(of[2], of[3]), _mm512_unpackhi_ps(of[2], of[3]));
  const __m512 all = op((__m512)_mm512_unpacklo_pd((__m512d)ab, (__m512d)cd),
                        (__m512)_mm512_unpackhi_pd((__m512d)ab, (__m512d)cd));
  const __m512 half = op(all, _mm512_shuffle_f32x4(all, all, 0x4e));
  return _mm512_castps512_ps128(op(half, _mm512_shuffle_f32x4(half, half, 0xb1)));
}

// Writes 64 integers of at most 32512, which are the low halves of words, each with 128 added, as split_signed does.
inline void split_signed(const __m512i* x, uint8_t* coarse, uint8_t* fine) {
  const Bytes bytes = bytes_of(x);
  _mm512_storeu_si512(coarse, bytes.high);
  _mm512_storeu_si512(fine, _mm512_xor_si512(bytes.low, _mm512_set1_epi8(int8_t(0x80))));
}

// What FoldQueries does for N <= 4 heads and kChunks chunks of 64 channels: the heads' reductions go together, and so do
// 64 integers.
template <int64_t N, int64_t kChunks>
void fold_heads(const uint8_t* scales, const float* q, int64_t rows, uint8_t* queries, float* scale, float* offset) {
  constexpr int64_t dim = kChunks * 64, kVectors = dim / 16;
  constexpr int kGreaterSize = 0b1011;  // of vrangeps: the greater absolute value
  __m512 greatest[4] = {}, sum[4] = {}, product[N][kVectors];
  for (int64_t c = 0; c < kVectors; ++c) {
    const __m512 step = load_f16(scales + 32 * c), least = load_f16(scales + 2 * dim + 32 * c);
    for (int64_t g = 0; g < N; ++g) {
      const __m512 x = _mm512_loadu_ps(q + g * dim + c * 16);
      product[g][c] = x * step;
      greatest[g] = _mm512_range_ps(greatest[g], product[g][c], kGreaterSize);
      sum[g] = _mm512_fmadd_ps(x, least, sum[g]);
    }
  }
  const auto add = [](__m512 a, __m512 b) { return a + b; };
  const auto more = [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); };
  const __m128 most = over_lanes(greatest, more), limit = _mm_set1_ps(kQueryLimit);
  alignas(16) float factors[4];
  _mm_store_ps(factors, _mm_maskz_div_ps(_mm_cmp_ps_mask(most, _mm_set1_ps(1e-30f), _CMP_GT_OQ), limit, most));
  _mm_storeu_ps(scale, most * (1.0f / kQueryLimit));
  _mm_storeu_ps(offset, over_lanes(sum, add));
  for (int64_t g = 0; g < N; ++g) {
    const __m512 factor = _mm512_set1_ps(factors[g]), half = _mm512_set1_ps(kIntegerInLowHalf + 128.0f);
    for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
      __m512i whole[4];
      for (int64_t i = 0; i < 4; ++i) {
        whole[i] = (__m512i)_mm512_fmadd_ps(product[g][chunk * 4 + i], factor, half);
      }
      uint8_t* to = queries + chunk * kTileBytes + g * kRowStride;
      split_signed(whole, to, to + rows * kRowStride);
    }
  }
}

// Queries of up to 8 heads times the channel scales of one block, in integers; offset: their products with the least
// values. rows: of each part.
using FoldQueries = void (*)(const uint8_t* scales, const float* q, int64_t dim, int64_t heads, int64_t rows,
                             uint8_t* queries, Fold& fold);

template <int64_t N, int64_t kChunks>
void fold_chunks(const uint8_t* scales, const float* q, int64_t, int64_t, int64_t rows, uint8_t* queries, Fold& fold) {
  constexpr int64_t kFirst = N < 4 ? N : 4;
  fold_heads<kFirst, kChunks>(scales, q, rows, queries, fold.scale, fold.offset);
  if constexpr (N > 4) {
    fold_heads<N - 4, kChunks>(scales, q + 4 * 64 * kChunks, rows, queries + 4 * kRowStride, fold.scale + 4,
                               fold.offset + 4);
  }
}

void fold_any(const uint8_t* scales, const float* q, int64_t dim, int64_t heads, int64_t rows, uint8_t* queries,
              Fold& fold) {
  const Cut cut = Cut::of(Element::i4_channel, dim);
  const auto halves = [&](int64_t i) { return load_f16(scales + 2 * i); };
  std::memset(queries, 0, size_t(cut.chunks * kTileBytes));
  const float limit = query_limit(dim, kMostUnsigned);
  for (int64_t g = 0; g < heads; ++g) {
    __m512 greatest = _mm512_setzero_ps(), sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < dim; c += 16) {
      const __m512 x = _mm512_loadu_ps(q + g * dim + c);
      greatest = _mm512_max_ps(greatest, _mm512_abs_ps(x * halves(c)));
      sum += x * halves(dim + c);
    }
    const float most = _mm512_reduce_max_ps(greatest), factor = most > 1e-30f ? limit / most : 0.0f;
    fold.scale[g] = most / limit;
    fold.offset[g] = _mm512_reduce_add_ps(sum);
    for (int64_t c = 0; c < dim; c += 16) {
      uint8_t* to = query_place(queries, cut, 64, c) + g * kRowStride;
      split_signed(_mm512_loadu_ps(q + g * dim + c) * halves(c) * factor, to, to + rows * kRowStride);
    }
  }
}

template <int64_t kChunks>
FoldQueries fold_of_chunks(int64_t heads) {
  constexpr FoldQueries by_heads[] = {fold_chunks<1, kChunks>, fold_chunks<2, kChunks>, fold_chunks<3, kChunks>,
                                      fold_chunks<4, kChunks>, fold_chunks<5, kChunks>, fold_chunks<6, kChunks>,
                                      fold_chunks<7, kChunks>, fold_chunks<8, kChunks>};
  return by_heads[heads - 1];
}

FoldQueries fold_of(int64_t dim, int64_t heads) {
  if (dim == 64) return fold_of_chunks<1>(heads);
  if (dim == 128) return fold_of_chunks<2>(heads);
  if (dim == 192) return fold_of_chunks<3>(heads);
  if (dim == 256) return fold_of_chunks<4>(heads);
  return fold_any;
}

// The codes of i4_channel have no sign, and of the two in a byte the high one needs no unpacking: bytes as they lie are
// 16 * high + low, so that products with them, less those with the low nibbles, are 16 times those with the high ones.
inline void unpack_low(const uint8_t* from, int64_t bytes, uint8_t* to) {
  const __m512i mask = _mm512_set1_epi8(0x0f);
  for (int64_t i = 0; i < bytes; i += 64) {
    _mm512_storeu_si512(to + i, _mm512_and_si512(_mm512_loadu_si512(from + i), mask));
  }
}

// Where the tiles of tokens 0 ... 15 and of tokens 16 ... 31 are read from.
struct KeyTiles {
  const uint8_t *first, *second;
};

template <Element E>
KeyTiles keys_as_tiles(const uint8_t* keys, int64_t dim, uint8_t* unpacked, bool unpack) {
  if constexpr (E == Element::i4_channel) {
    if (unpack) unpack_low(keys, dim * kBlockTokens / 2, unpacked);
    return {unpacked, keys};
  } else if constexpr (E == Element::f8) {
    if (unpack) unpack_f8(keys, dim / 2, kRowBytes, unpacked);
    keys = unpacked;
  }
  return {keys, keys + Cut::of(E, dim).rows * kRowBytes};
}

#define SCORE_TILES(c)                                                        \
  if constexpr (E == Element::i4_channel) MULTIPLY_TILES("tdpbsud", c, 4, 5); \
  if constexpr (E == Element::i8) MULTIPLY_TILES("tdpbssd", c, 4, 5);         \
  if constexpr (!is_integer(E)) MULTIPLY_TILES("tdpbf16ps", c, 4, 5);

// Products of one block's keys and a tile of queries to raw [16 rows][32 tokens].
template <Element E>
void multiply_keys(const KeyTiles& keys, const Cut& cut, const uint8_t* queries, float* raw, Feed& feed) {
  ZERO_TILE(0);
  ZERO_TILE(1);
  for (int64_t chunk = 0; chunk < cut.chunks; ++chunk) {
    const int64_t at = cut.start(chunk) * kRowBytes;
    LOAD_TILE(4, queries + chunk * kTileBytes, kRowStride);
    LOAD_TILE(5, keys.first + at, kRowBytes);
    feed.some();
    SCORE_TILES(0)
    LOAD_TILE(5, keys.second + at, kRowBytes);
    SCORE_TILES(1)
  }
  STORE_TILE(0, raw, kBlockTokens * 4);
  STORE_TILE(1, raw + kHalf, kBlockTokens * 4);
}

// Raw products of one block to scores. scale, offset: by head; token_scales: by token, or null.
template <Element E>
void finish_scores(const float* raw, int64_t heads, int64_t rows, const float* scale, const float* offset,
                   const uint8_t* token_scales, float* scores) {
  for (int64_t g = 0; g < heads; ++g, raw += kBlockTokens, scores += kRowTokens) {
    const float* fine = raw + rows * kBlockTokens;
    if constexpr (E == Element::i4_channel) {
      const __m512i low = whole_of(raw, fine), high = _mm512_sub_epi32(whole_of(raw + kHalf, fine + kHalf), low);
      _mm512_storeu_ps(scores, _mm512_cvtepi32_ps(low) * scale[g] + offset[g]);
      _mm512_storeu_ps(scores + kHalf, _mm512_cvtepi32_ps(high) * (scale[g] * (1.0f / 16)) + offset[g]);
      continue;
    }
    for (int64_t t = 0; t < kBlockTokens; t += kHalf) {
      __m512 score;
      if constexpr (is_integer(E)) score = _mm512_cvtepi32_ps(whole_of(raw + t, fine + t)) * scale[g];
      if constexpr (!is_integer(E)) score = _mm512_loadu_ps(raw + t) + _mm512_loadu_ps(fine + t);
      if constexpr (has_token_scale(E)) score *= _mm512_loadu_ps(token_scales + t * 4);
      _mm512_storeu_ps(scores + t, score);
    }
  }
}

// What scoring the blocks of a piece for one tile of query heads goes through. One object per tile and piece.
template <Element E>
struct Scoring {
  static constexpr bool kChannels = E == Element::i4_channel;
  static constexpr int64_t kUnpackedBytes = kBlockTokens * (kChannels ? 1 : 4) / 2;  // per channel

  const Piece& piece;
  const Tiles& tiles;
  Feed& feed;
  int64_t dim, head, heads, rows;  // query heads in the tile, and rows of each part
  Cut cut, exact;                  // of the codes, and of the tail
  const float* q;                  // of the tile's first head
  const uint8_t* queries;
  const float* query_scale;
  float* scores;
  FoldQueries fold;
  Fold* folds;  // [kPieceBlocks]
  bool unpack;  // not for another tile already
  KeyTiles keys[kPieceBlocks] = {};

  bool in_tail(int64_t b) const { return kChannels && b == piece.tail; }
  uint8_t* folded(int64_t b) const { return tiles.folded + b * cut.chunks * kTileBytes; }
  uint8_t* unpacked(int64_t b) const { return tiles.keys + b * dim * kUnpackedBytes; }
  float* raw(int64_t b) const { return tiles.raw + b * kTileRows * kBlockTokens; }

  void prepare(int64_t b) {
    feed.some();
    const uint8_t* from = piece.keys(head, b);
    if (in_tail(b)) {
      keys[b] = keys_as_tiles<Element::bf16>(from, dim, nullptr, false);
      return;
    }
    keys[b] = keys_as_tiles<E>(from, dim, unpacked(b), unpack);
    if constexpr (kChannels) fold(piece.key_scales(head, b), q, dim, heads, rows, folded(b), folds[b]);
  }

  void multiply(int64_t b) const {
    if (in_tail(b)) {
      multiply_keys<Element::bf16>(keys[b], exact, queries, raw(b), feed);
    } else {
      multiply_keys<E>(keys[b], cut, kChannels ? folded(b) : queries, raw(b), feed);
    }
  }

  void finish(int64_t b) const {
    feed.some();
    float* to = scores + b * kBlockTokens;
    if (in_tail(b)) {
      finish_scores<Element::bf16>(raw(b), heads, rows, nullptr, nullptr, nullptr, to);
    } else {
      finish_scores<E>(raw(b), heads, rows, kChannels ? folds[b].scale : query_scale, folds[b].offset,
                       piece.key_scales(head, b), to);
    }
  }

  // The steps of neighbouring blocks go side by side, so that none waits for the stores of the one before it.
  void run() {
    for (int64_t step = 0; step < piece.blocks + 2; ++step) {
      if (step < piece.blocks) prepare(step);
      if (step >= 1 && step <= piece.blocks) multiply(step - 1);
      if (step >= 2) finish(step - 2);
    }
  }
};

template <Element E>
void score_piece(const Piece& piece, int64_t dim, const float* q, const HeadSpan& heads, const Tiles& tiles,
                 float* scores) {
  const Cut cut = Cut::of(E, dim), exact = Cut::of(E == Element::i4_channel ? Element::bf16 : E, dim);
  const int64_t rows = tile_heads(heads.group), last = tiles.each - 1;
  const FoldQueries fold = fold_of(dim, rows), fold_last = fold_of(dim, heads_in(heads.group, last));
  Fold folds[kPieceBlocks];
  for (int64_t h = 0; h < heads.count; ++h) {
    for (int64_t tile = 0; tile < tiles.each; ++tile) {
      const int64_t row = h * heads.group + tile * kTileHeads, place = h * tiles.each + tile;
      Scoring<E>{piece, tiles, *piece.feed, dim, h, heads_in(heads.group, tile), rows, cut, exact, q + row * dim,
                 tiles.queries + place * exact.chunks * kTileBytes, tiles.query_scale + place * kTileHeads,
                 scores + row * kRowTokens, tile < last ? fold : fold_last, folds, tile == 0}
          .run();
    }
  }
}

}  // namespace

bool tiles_take_keys(Element element, int64_t dim) {
  return is_tile_element(element) && is_for_keys(element) && dim % 16 == 0 && dim >= (is_integer(element) ? 64 : 32);
}

void ready_queries(const KvView& view, const float* q, const HeadSpan& heads, const Tiles& tiles) {
  const int64_t group = heads.group, each = tiles.each;
  const auto ready_floats = view.k_element == Element::f8 ? ready_bf16<true> : ready_bf16<false>;
  for (int64_t h = 0; h < heads.count; ++h, q += group * view.k_dim) {
    if (has_token_scale(view.k_element)) {
      const int64_t bytes = each * Cut::of(Element::i8, view.k_dim).chunks * kTileBytes;
      ready_integers(q, view.k_dim, group, tiles.queries + h * bytes, tiles.query_scale + h * each * kTileHeads);
    } else {
      const int64_t bytes = each * Cut::of(Element::bf16, view.k_dim).chunks * kTileBytes;
      ready_floats(q, view.k_dim, group, tiles.queries + h * bytes);
    }
  }
}

void score_tiles(const KvView& view, const Piece& piece, const float* q, const HeadSpan& heads, const Tiles& tiles,
                 float* scores) {
  choose_tiles(view.k_element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (is_for_keys(E)) score_piece<E>(piece, view.k_dim, q, heads, tiles, scores);
  });
}

WINDOWTAX_END_LEVEL

#endif
