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

// Where 16 channels of a head from `channel` on lie in the tiles of queries. numbers: per 64-byte row.
inline uint8_t* query_place(uint8_t* queries, const Cut& cut, int64_t numbers, int64_t channel) {
  const int64_t chunk = channel / numbers;
  const int64_t place = channel - cut.start(chunk) * numbers / kTileRows;
  return queries + chunk * kTileBytes + place * (64 / numbers);
}

void ready_bf16(const float* q, int64_t dim, int64_t group, uint8_t* queries) {
  const Cut cut = Cut::of(Element::bf16, dim);
  const int64_t heads = tile_heads(group);
  std::memset(queries, 0, size_t(head_tiles(group) * cut.chunks * kTileBytes));
  for (int64_t g = 0; g < group; ++g) {
    uint8_t* tile = queries + g / kTileHeads * cut.chunks * kTileBytes + g % kTileHeads * kRowStride;
    for (int64_t c = 0; c < dim; c += 16) {
      uint8_t* to = query_place(tile, cut, 32, c);
      split_bf16(_mm512_loadu_ps(q + g * dim + c), to, to + heads * kRowStride);
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
  std::memset(queries, 0, size_t(head_tiles(group) * cut.chunks * kTileBytes));
  for (int64_t g = 0; g < group; ++g) {
    uint8_t* tile = queries + g / kTileHeads * cut.chunks * kTileBytes + g % kTileHeads * kRowStride;
    const float greatest = greatest_size(q + g * dim, dim), factor = greatest > 1e-30f ? kQueryLimit / greatest : 0.0f;
    scale[g] = greatest / kQueryLimit;
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

// Queries of up to 8 heads times the channel scales of one block, in integers; offset: the products with what a code of
// 8 stands for.
void fold_queries(const uint8_t* scales, const float* q, int64_t dim, int64_t heads, int64_t rows, uint8_t* queries,
                  Fold& fold) {
  const Cut cut = Cut::of(Element::i4_channel, dim);
  const auto halves = [&](int64_t i) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales + 2 * i)));
  };
  for (int64_t g = 0; g < heads; ++g) {
    __m512 greatest = _mm512_setzero_ps(), sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < dim; c += 16) {
      const __m512 x = _mm512_loadu_ps(q + g * dim + c), step = halves(c);
      greatest = _mm512_max_ps(greatest, _mm512_abs_ps(x * step));
      sum += x * (step * 8.0f + halves(dim + c));
    }
    const float most = _mm512_reduce_max_ps(greatest), factor = most > 1e-30f ? kQueryLimit / most : 0.0f;
    fold.scale[g] = most / kQueryLimit;
    fold.offset[g] = _mm512_reduce_add_ps(sum);
    for (int64_t c = 0; c < dim; c += 16) {
      uint8_t* to = query_place(queries, cut, 64, c) + g * kRowStride;
      split_signed(_mm512_loadu_ps(q + g * dim + c) * halves(c) * factor, to, to + rows * kRowStride);
    }
  }
}

template <Element E>
inline void keys_as_tiles(const uint8_t* keys, int64_t dim, uint8_t* unpacked) {
  if constexpr (is_nibble(E)) unpack_nibbles<E>(keys, dim * kBlockTokens / 2, unpacked);
  if constexpr (E == Element::f8) unpack_f8(keys, dim / 2, kRowBytes, unpacked);
}

// Products of one block's keys and a tile of queries to raw [16 rows][32 tokens], kRowTokens apart.
template <Element E>
void multiply_keys(const uint8_t* keys, const Cut& cut, const uint8_t* queries, float* raw, Feed& feed) {
  const uint8_t* second = keys + cut.rows * kRowBytes;
  ZERO_TILE(0);
  ZERO_TILE(1);
  for (int64_t chunk = 0; chunk < cut.chunks; ++chunk) {
    const int64_t at = cut.start(chunk) * kRowBytes;
    LOAD_TILE(4, queries + chunk * kTileBytes, kRowStride);
    LOAD_TILE(5, keys + at, kRowBytes);
    feed.some();
    if constexpr (!is_integer(E)) MULTIPLY_TILES("tdpbf16ps", 0, 4, 5);
    if constexpr (is_integer(E)) MULTIPLY_TILES("tdpbssd", 0, 4, 5);
    LOAD_TILE(5, second + at, kRowBytes);
    if constexpr (!is_integer(E)) MULTIPLY_TILES("tdpbf16ps", 1, 4, 5);
    if constexpr (is_integer(E)) MULTIPLY_TILES("tdpbssd", 1, 4, 5);
  }
  STORE_TILE(0, raw, kRowTokens * 4);
  STORE_TILE(1, raw + kHalf, kRowTokens * 4);
}

// Raw products of one block to scores. scale, offset: by head; token_scales: by token, or null.
template <Element E>
void finish_scores(const float* raw, int64_t heads, int64_t rows, const float* scale, const float* offset,
                   const uint8_t* token_scales, float* scores) {
  for (int64_t g = 0; g < heads; ++g) {
    for (int64_t t = 0; t < kBlockTokens; t += 16) {
      const __m512 coarse = _mm512_loadu_ps(raw + g * kRowTokens + t);
      const __m512 fine = _mm512_loadu_ps(raw + (rows + g) * kRowTokens + t);
      __m512 score = coarse + fine;
      if constexpr (is_integer(E)) {
        score = _mm512_cvtepi32_ps((__m512i)coarse) * 256.0f + _mm512_cvtepi32_ps((__m512i)fine);
        score *= scale[g] * (is_nibble(E) ? 1.0f / 16 : 1.0f);
      }
      if constexpr (has_token_scale(E)) score *= _mm512_loadu_ps(token_scales + t * 4);
      if constexpr (E == Element::i4_channel) score += offset[g];
      _mm512_storeu_ps(scores + g * kRowTokens + t, score);
    }
  }
}

// What scoring the blocks of a piece for up to 8 heads goes through. One object per element, head tile and piece.
template <Element E>
struct Scoring {
  const Piece& piece;
  const Tiles& tiles;
  int64_t dim, first_head, heads, rows;
  const float* q;
  float* scores;
  const uint8_t* keys[kPieceBlocks];
  Fold folds[kPieceBlocks];

  const uint8_t* queries_of(int64_t b) const {
    if (E == Element::i4_channel && b != piece.tail) return tiles.folded + b * Cut::of(E, dim).chunks * kTileBytes;
    const int64_t chunks = Cut::of(E == Element::i4_channel ? Element::bf16 : E, dim).chunks;
    return tiles.queries + first_head / kTileHeads * chunks * kTileBytes;
  }

  void prepare(int64_t b) {
    keys[b] = piece.k[b];
    piece.feed->some();
    if (b == piece.tail) return;
    uint8_t* unpacked = tiles.unpacked + b * tiles.unpacked_bytes;
    if (first_head == 0) keys_as_tiles<E>(piece.k[b], dim, unpacked);
    if (!kInPlace<E>) keys[b] = unpacked;
    if constexpr (E == Element::i4_channel) {
      uint8_t* folded = tiles.folded + b * Cut::of(E, dim).chunks * kTileBytes;
      fold_queries(piece.k_scale[b], q + first_head * dim, dim, heads, rows, folded, folds[b]);
    }
  }

  void multiply(int64_t b) const {
    float* raw = tiles.raw + b * kBlockTokens;
    if (E == Element::i4_channel && b == piece.tail) {
      multiply_keys<Element::bf16>(keys[b], Cut::of(Element::bf16, dim), queries_of(b), raw, *piece.feed);
    } else {
      multiply_keys<E>(keys[b], Cut::of(E, dim), queries_of(b), raw, *piece.feed);
    }
  }

  void finish(int64_t b) const {
    piece.feed->some();
    const float* raw = tiles.raw + b * kBlockTokens;
    float* to = scores + first_head * kRowTokens + b * kBlockTokens;
    if (E == Element::i4_channel && b == piece.tail) {
      finish_scores<Element::bf16>(raw, heads, rows, nullptr, nullptr, nullptr, to);
    } else {
      const float* scale = E == Element::i4_channel ? folds[b].scale : tiles.query_scale + first_head;
      finish_scores<E>(raw, heads, rows, scale, folds[b].offset, piece.k_scale[b], to);
    }
  }
};

// The steps of neighbouring blocks go side by side, so that none waits for the stores of the one before it.
template <Element E>
void score_piece(const Piece& piece, int64_t dim, const float* q, int64_t group, const Tiles& tiles, float* scores) {
  for (int64_t g = 0; g < group; g += kTileHeads) {
    const int64_t heads = group - g < kTileHeads ? group - g : kTileHeads;
    Scoring<E> scoring = {piece, tiles, dim, g, heads, tile_heads(group), q, scores, {}, {}};
    for (int64_t step = 0; step < piece.blocks + 2; ++step) {
      if (step < piece.blocks) scoring.prepare(step);
      if (step >= 1 && step <= piece.blocks) scoring.multiply(step - 1);
      if (step >= 2) scoring.finish(step - 2);
    }
  }
}

}  // namespace

bool tiles_take_keys(Element element, int64_t dim) {
  return is_tile_element(element) && is_for_keys(element) && dim % 16 == 0 && dim >= (is_integer(element) ? 64 : 32);
}

void ready_tiles(const KvView& view, const float* q, int64_t group, const Work& work) {
  const Tiles tiles = Tiles::at(work.tiles, view.k_dim, view.v_dim, group);
  if (has_token_scale(view.k_element)) {
    ready_integers(q, view.k_dim, group, tiles.queries, tiles.query_scale);
  } else {
    ready_bf16(q, view.k_dim, group, tiles.queries);
  }
  if (view.k_element == Element::i4_channel) {
    std::memset(tiles.folded, 0, size_t(kPieceBlocks * Cut::of(view.k_element, view.k_dim).chunks * kTileBytes));
  }
}

void score_tiles(const KvView& view, const Piece& piece, const float* q, int64_t group, const Work& work) {
  const Tiles tiles = Tiles::at(work.tiles, view.k_dim, view.v_dim, group);
  choose_tiles(view.k_element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (is_for_keys(E)) score_piece<E>(piece, view.k_dim, q, group, tiles, work.scores);
  });
}

WINDOWTAX_END_LEVEL

#endif
