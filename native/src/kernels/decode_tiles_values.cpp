// Weighted values of a piece through AMX tiles, and the tiles' configuration.

#include "kernels/decode_tiles.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL

namespace {

template <Element E>
inline const uint8_t* values_as_tiles(const uint8_t* values, int64_t dim, uint8_t* unpacked) {
  if constexpr (is_nibble(E)) unpack_nibbles(values, dim * kBlockTokens / 2, unpacked);
  if constexpr (E == Element::f8) unpack_f8(values, kBlockTokens / 4, 4 * dim, unpacked);
  return kInPlace<E> ? values : unpacked;
}

// Integers of weights; the greatest becomes this.
constexpr float kWeightLimit = 65280.0f;  // 255 * 256

// Weights of one head to two rows of the A tile, in bf16.
template <bool kF8>
void split_weights(const float* scores, int64_t tokens, int64_t to_fine, uint8_t* coarse) {
  for (int64_t t = 0; t < tokens; t += 16) {
    split_bf16(in_pairs<kF8>(_mm512_loadu_ps(scores + t)), coarse + 2 * t, coarse + to_fine + 2 * t);
  }
}

// The same in integers, times the values' scales, against the greatest product; returns what one integer counts. kBlocks
// of them, two at a time, so that those of an odd one's place are zero.
template <int64_t kBlocks>
float split_weights(const float* scores, const float* scales, int64_t to_fine, uint8_t* coarse) {
  __m512 products[(kBlocks + 1) / 2 * 4] = {}, greatest = _mm512_setzero_ps();
  for (int64_t i = 0; i < kBlocks * 2; ++i) {
    products[i] = _mm512_loadu_ps(scores + 16 * i) * _mm512_loadu_ps(scales + 16 * i);
    greatest = _mm512_max_ps(greatest, products[i]);
  }
  const __m512 whole_in_half = _mm512_set1_ps(kIntegerInLowHalf);
  const float most = _mm512_reduce_max_ps(greatest), factor = most > 1e-30f ? kWeightLimit / most : 0.0f;
  for (int64_t i = 0; i < kBlocks * 2; i += 4) {
    __m512i whole[4];
    for (int64_t j = 0; j < 4; ++j) whole[j] = (__m512i)(products[i + j] * factor + whole_in_half);
    const Bytes bytes = bytes_of(whole);
    _mm512_storeu_si512(coarse + 16 * i, bytes.high);
    _mm512_storeu_si512(coarse + to_fine + 16 * i, bytes.low);
  }
  return most / kWeightLimit;
}

template <int64_t kBlocks>
float weighted_sum(const float* scores, const float* x) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < kBlocks * 2; ++i) sum += _mm512_loadu_ps(scores + 16 * i) * _mm512_loadu_ps(x + 16 * i);
  return _mm512_reduce_add_ps(sum);
}

// Weights of all query heads of a KV head to their places in the tiles. work: of the head.
template <Element E, int64_t kBlocks>
void ready_weights(int64_t head, int64_t group, const Work& work, const Tiles& tiles) {
  constexpr int64_t row = weight_row(is_integer(E));
  const int64_t to_fine = tile_heads(group) * row;
  for (int64_t g = 0; g < group; ++g) {
    const int64_t tile = head * tiles.each + g / kTileHeads, place = g % kTileHeads;
    const float* scores = work.scores + g * kRowTokens;
    uint8_t* coarse = tiles.weights + (tile * kTileRows + place) * row;
    if constexpr (is_integer(E)) {
      const float unit = split_weights<kBlocks>(scores, work.v_scales, to_fine, coarse);
      tiles.unit[tile * kTileHeads + place] = is_nibble(E) ? unit * (1.0f / 16) : unit;
      work.offsets[g] = is_nibble(E) ? weighted_sum<kBlocks>(scores, work.v_middles) : 0.0f;
    } else {
      split_weights<E == Element::f8>(scores, kBlocks * kBlockTokens, to_fine, coarse);
    }
  }
}

// One tile of 16 channels of values, onto sum tile C.
#define WEIGH_TILE(c)                            \
  if constexpr (c < N) {                         \
    piece.feed->some();                          \
    if constexpr (E == Element::i8) {            \
      LOAD_TILE(7, from + 64 * c, stride);       \
      MULTIPLY_TILES("tdpbusd", c, 6, 7);        \
    } else {                                     \
      LOAD_TILE(5, from + 64 * c, stride);       \
      if constexpr (E == Element::i4) {          \
        MULTIPLY_TILES("tdpbusd", c, 4, 5);      \
      } else {                                   \
        MULTIPLY_TILES("tdpbf16ps", c, 4, 5);    \
      }                                          \
    }                                            \
  }

// Products of the piece's weights and N tiles of 16 channels, from `channel` on, of its values.
template <Element E, int N>
void multiply_values(const Piece& piece, const uint8_t* const* values, int64_t channel, int64_t dim,
                     const uint8_t* weights, float* sums) {
  constexpr int64_t row = weight_row(is_integer(E)), blocks = E == Element::i4 ? 2 : 1;  // of a tile
  const int64_t stride = dim * 4;
  ZERO_TILE(0);
  if constexpr (N > 1) ZERO_TILE(1);
  if constexpr (N > 2) ZERO_TILE(2);
  if constexpr (N > 3) ZERO_TILE(3);
  for (int64_t b = 0; b < piece.blocks; b += blocks) {
    const uint8_t* from = values[b] + channel * 4;
    if constexpr (E == Element::i8) LOAD_TILE(6, weights + b * kBlockTokens, row);
    if constexpr (E == Element::i4) LOAD_TILE(4, weights + b * kBlockTokens, row);
    if constexpr (!is_integer(E)) LOAD_TILE(4, weights + b * kBlockTokens * 2, row);
    WEIGH_TILE(0)
    WEIGH_TILE(1)
    WEIGH_TILE(2)
    WEIGH_TILE(3)
  }
  STORE_TILE(0, sums + channel, stride);
  if constexpr (N > 1) STORE_TILE(1, sums + channel + 16, stride);
  if constexpr (N > 2) STORE_TILE(2, sums + channel + 32, stride);
  if constexpr (N > 3) STORE_TILE(3, sums + channel + 48, stride);
}

// Products to the state: o = o * old_factor + sum * new_factor.
template <bool kInteger>
void finish_values(const float* sums, int64_t dim, int64_t heads, int64_t rows, const float* old_factor,
                   const float* new_factor, const float* unit, const float* offset, float* o) {
  for (int64_t g = 0; g < heads; ++g) {
    const float factor = kInteger ? new_factor[g] * unit[g] : new_factor[g];
    const __m512 more = _mm512_set1_ps(kInteger ? new_factor[g] * offset[g] : 0.0f);
    for (int64_t c = 0; c < dim; c += 16) {
      const float *coarse = sums + g * dim + c, *fine = sums + (rows + g) * dim + c;
      __m512 sum;
      if constexpr (kInteger) sum = _mm512_cvtepi32_ps(whole_of(coarse, fine));
      if constexpr (!kInteger) sum = _mm512_loadu_ps(coarse) + _mm512_loadu_ps(fine);
      const __m512 old = _mm512_loadu_ps(o + g * dim + c) * old_factor[g];
      _mm512_storeu_ps(o + g * dim + c, kInteger ? old + (sum * factor + more) : old + sum * factor);
    }
  }
}

// The products of all query heads of one KV head.
template <Element E>
void weigh_head(const Piece& piece, int64_t dim, int64_t head, const Tiles& tiles) {
  constexpr int64_t row = weight_row(is_integer(E));
  const uint8_t* values[kPieceBlocks];
  for (int64_t b = 0; b < piece.blocks; ++b) {
    piece.feed->some();
    values[b] = values_as_tiles<E>(piece.values(head, b), dim,
                                   tiles.values + b * kBlockTokens * dim * (is_integer(E) ? 1 : 2));
  }
  for (int64_t tile = head * tiles.each; tile < (head + 1) * tiles.each; ++tile) {
    const uint8_t* weights = tiles.weights + tile * kTileRows * row;
    float* sums = tiles.sums + tile * kTileRows * dim;
    int64_t c = 0;
    for (; c + 64 <= dim; c += 64) multiply_values<E, 4>(piece, values, c, dim, weights, sums);
    if (dim - c == 48) multiply_values<E, 3>(piece, values, c, dim, weights, sums);
    if (dim - c == 32) multiply_values<E, 2>(piece, values, c, dim, weights, sums);
    if (dim - c == 16) multiply_values<E, 1>(piece, values, c, dim, weights, sums);
  }
}

// All weights before the first product, and all products before the first result is taken to the state, so that nothing
// waits for what was just stored.
template <Element E>
void weigh_piece(const Piece& piece, int64_t dim, const HeadSpan& heads, const Work& work, const Tiles& tiles,
                 float* o) {
  choose_blocks(piece.blocks, [&](auto blocks) {
    for (int64_t h = 0; h < heads.count; ++h) {
      ready_weights<E, decltype(blocks)::value>(h, heads.group, work.of(h, heads.group), tiles);
    }
  });
  for (int64_t h = 0; h < heads.count; ++h) weigh_head<E>(piece, dim, h, tiles);
  for (int64_t tile = 0; tile < heads.count * tiles.each; ++tile) {
    const int64_t g = tile / tiles.each * heads.group + tile % tiles.each * kTileHeads;
    finish_values<is_integer(E)>(tiles.sums + tile * kTileRows * dim, dim, heads_in(heads.group, tile % tiles.each),
                                 tile_heads(heads.group), work.old_factor + g, work.new_factor + g,
                                 tiles.unit + tile * kTileHeads, work.offsets + g, o + g * dim);
  }
}

}  // namespace

int64_t tiles_bytes(int64_t k_dim, int64_t v_dim, int64_t heads, int64_t group) {
  return Tiles::at(nullptr, k_dim, v_dim, heads, group).bytes;
}

bool tiles_take_values(Element element, int64_t dim) { return is_tile_element(element) && dim % 16 == 0; }

void begin_tiles(int64_t group) {
  TileConfig config = {};
  config.palette = 1;
  for (int64_t tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = tile == 6 ? 32 : 64;
    config.rows[tile] = uint8_t(tile == 5 ? kTileRows : tile == 7 ? kTileRows / 2 : 2 * tile_heads(group));
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
}

void end_tiles() { asm volatile("tilerelease" ::); }

void weigh_tiles(const KvView& view, const Piece& piece, const HeadSpan& heads, const Work& work, const Tiles& tiles,
                 float* o) {
  choose_tiles(view.v_element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (is_for_values(E)) weigh_piece<E>(piece, view.v_dim, heads, work, tiles, o);
  });
}

WINDOWTAX_END_LEVEL

#endif
