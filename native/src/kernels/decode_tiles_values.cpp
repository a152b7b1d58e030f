// Weighted values of a piece through AMX tiles, and the tiles' configuration.

#include "kernels/decode_tiles.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL

namespace {

template <Element E>
inline const uint8_t* values_as_tiles(const uint8_t* values, int64_t dim, uint8_t* unpacked) {
  if constexpr (is_nibble(E)) unpack_nibbles<E>(values, dim * kBlockTokens / 2, unpacked);
  if constexpr (E == Element::f8) unpack_f8(values, kBlockTokens / 4, 4 * dim, unpacked);
  return is_nibble(E) || E == Element::f8 ? unpacked : values;
}

// Integers of weights; the greatest becomes this.
constexpr float kWeightLimit = 65280.0f;  // 255 * 256

// Weights of one head to two rows of the A tile, in bf16.
void ready_weights(const float* scores, int64_t tokens, int64_t to_fine, uint8_t* coarse) {
  for (int64_t t = 0; t < tokens; t += 16) {
    split_bf16(_mm512_loadu_ps(scores + t), coarse + 2 * t, coarse + to_fine + 2 * t);
  }
}

// The same in integers, times the values' scales, against the greatest product; returns what one integer counts.
float ready_weights(const float* scores, const float* scales, int64_t tokens, int64_t to_fine, uint8_t* coarse) {
  __m512 products[kPieceTokens / 16], greatest = _mm512_setzero_ps();
  for (int64_t t = 0; t < tokens; t += 16) {
    products[t / 16] = _mm512_loadu_ps(scores + t) * _mm512_loadu_ps(scales + t);
    greatest = _mm512_max_ps(greatest, products[t / 16]);
  }
  const float most = _mm512_reduce_max_ps(greatest), factor = most > 1e-30f ? kWeightLimit / most : 0.0f;
  for (int64_t t = 0; t < tokens; t += 16) {
    const __m512i whole = _mm512_cvtps_epi32(products[t / 16] * factor);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(coarse + t), _mm512_cvtepi32_epi8(_mm512_srli_epi32(whole, 8)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(coarse + to_fine + t), _mm512_cvtepi32_epi8(whole));
  }
  return most / kWeightLimit;
}

// One tile of 16 channels of values, onto sum tile C.
#define WEIGH_TILE(c)                                                     \
  if constexpr (c < N) {                                                  \
    piece.feed->some();                                                   \
    if constexpr (is_integer(E)) {                                        \
      LOAD_TILE(7, from + 64 * c, stride);                                \
      MULTIPLY_TILES("tdpbusd", c, 6, 7);                                 \
    } else {                                                              \
      LOAD_TILE(5, from + 64 * c, stride);                                \
      MULTIPLY_TILES("tdpbf16ps", c, 4, 5);                               \
    }                                                                     \
  }

// Products of the piece's weights and N tiles of 16 channels, from `channel` on, of its values.
template <Element E, int N>
void multiply_values(const Piece& piece, const uint8_t* const* values, int64_t channel, int64_t dim,
                     const uint8_t* weights, float* sums) {
  const int64_t stride = dim * 4;
  ZERO_TILE(0);
  if constexpr (N > 1) ZERO_TILE(1);
  if constexpr (N > 2) ZERO_TILE(2);
  if constexpr (N > 3) ZERO_TILE(3);
  for (int64_t b = 0; b < piece.blocks; ++b) {
    const uint8_t* from = values[b] + channel * 4;
    if constexpr (is_integer(E)) LOAD_TILE(6, weights + b * kBlockTokens, kRowTokens);
    if constexpr (!is_integer(E)) LOAD_TILE(4, weights + b * kBlockTokens * 2, kRowTokens * 2);
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
                   const float* new_factor, const float* unit, float* o) {
  for (int64_t g = 0; g < heads; ++g) {
    for (int64_t c = 0; c < dim; c += 16) {
      const __m512 coarse = _mm512_loadu_ps(sums + g * dim + c);
      const __m512 fine = _mm512_loadu_ps(sums + (rows + g) * dim + c);
      __m512 sum = coarse + fine;
      if constexpr (kInteger) sum = _mm512_cvtepi32_ps((__m512i)coarse) * 256.0f + _mm512_cvtepi32_ps((__m512i)fine);
      const __m512 old = _mm512_loadu_ps(o + g * dim + c) * old_factor[g];
      _mm512_storeu_ps(o + g * dim + c, old + sum * (new_factor[g] * unit[g]));
    }
  }
}

template <Element E>
void weigh_piece(const Piece& piece, int64_t dim, int64_t group, const Work& work, const Tiles& tiles, float* o) {
  constexpr bool kInteger = is_integer(E);
  const int64_t rows = tile_heads(group);
  const uint8_t* values[kPieceBlocks];
  for (int64_t b = 0; b < piece.blocks; ++b) {
    values[b] = values_as_tiles<E>(piece.v[b], dim, tiles.unpacked + b * tiles.unpacked_bytes);
  }
  for (int64_t g = 0; g < group; g += kTileHeads) {
    const int64_t heads = group - g < kTileHeads ? group - g : kTileHeads;
    constexpr int64_t row_bytes = kRowTokens * (kInteger ? 1 : 2);
    float unit[kTileHeads];  // by head, what a product counts
    for (int64_t h = 0; h < heads; ++h) {
      const float* scores = work.scores + (g + h) * kRowTokens;
      uint8_t* coarse = tiles.weights + h * row_bytes;
      unit[h] = 1;
      if constexpr (!kInteger) ready_weights(scores, piece.tokens(), rows * row_bytes, coarse);
      if constexpr (kInteger) {
        unit[h] = ready_weights(scores, work.v_scales, piece.tokens(), rows * row_bytes, coarse);
        if (is_nibble(E)) unit[h] *= 1.0f / 16;
      }
    }
    piece.feed->some();
    int64_t c = 0;
    for (; c + 64 <= dim; c += 64) multiply_values<E, 4>(piece, values, c, dim, tiles.weights, tiles.sums);
    if (dim - c == 48) multiply_values<E, 3>(piece, values, c, dim, tiles.weights, tiles.sums);
    if (dim - c == 32) multiply_values<E, 2>(piece, values, c, dim, tiles.weights, tiles.sums);
    if (dim - c == 16) multiply_values<E, 1>(piece, values, c, dim, tiles.weights, tiles.sums);
    finish_values<kInteger>(tiles.sums, dim, heads, rows, work.old_factor + g, work.new_factor + g, unit,
                            o + g * dim);
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

void weigh_tiles(const KvView& view, const Piece& piece, int64_t group, const Work& work, float* o) {
  const Tiles tiles = Tiles::at(work.tiles, view.k_dim, view.v_dim, work.heads, group);
  choose_tiles(view.v_element, [&](auto chosen) {
    weigh_piece<decltype(chosen)::value>(piece, view.v_dim, group, work, tiles, o);
  });
}

WINDOWTAX_END_LEVEL

#endif
