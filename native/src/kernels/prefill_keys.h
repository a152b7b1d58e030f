// The keys and values that a tile of prefill reads: which positions, and one block of them at a time as floats.

#pragma once

#include "kernels/codes.h"

WINDOWTAX_BEGIN_LEVEL
namespace {

struct Span {
  int64_t low, high;  // positions low ... high - 1; empty where high <= low
};

int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// The positions of the part that a query at p reads. Both ends only grow with p.
Span visible(const TilePart& part, int64_t p) {
  int64_t low = greater(part.low, part.first);
  if (part.window) low = greater(low, p - part.window + 1);
  if (part.chunk) low = greater(low, p - p % part.chunk);
  return {low, lesser(lesser(part.high, part.first + kBlockTokens * part.count),
                      part.earlier ? p - p % kBlockTokens : p + 1)};
}

// The positions of the part that some query of the tile reads.
Span tile_span(const Tile& tile, const TilePart& part) {
  return {visible(part, tile.start).low, visible(part, tile.start + tile.tokens - 1).high};
}

// Keys of one head of a block, from rows of codes: out [dim][32], a lane per token. token_scale [32] or channel
// [2][dim] in half precision (scales, then leasts), or null.
template <Element E>
void decode_keys(const uint8_t* from, int64_t dim, const float* token_scale, const uint16_t* channel, float* out) {
  constexpr int64_t kWidth = per_word(E);
  for (int64_t token = 0; token < kBlockTokens; token += kLanes) {
    const int64_t half = token / kHalf;
    const uint8_t* lane = from + key_half_offset(E, dim, half) + token % kHalf * 4;
    const Floats factor = token_scale ? load_floats(token_scale + token) : all_lanes(1.0f);
    for (int64_t row = 0; row < dim / kWidth; ++row) {
      const Words word = load_words(lane + row * kRowBytes);
      for (int j = 0; j < kWidth; ++j) {
        const int64_t d = row * kWidth + j;
        Floats x = number_of<E>(word, j, static_cast<int>(half)) * factor;
        if (channel) x = x * from_f16(Words{} + channel[d]) + from_f16(Words{} + channel[dim + d]);
        store_floats(out + d * kBlockTokens + token, x);
      }
    }
  }
}

// Values of one head of a block: out [32][stride], stride = dim rounded up to the lanes or more; zero beyond dim.
// scales, middles: per token.
template <Element E>
void decode_values(const uint8_t* from, int64_t dim, const float* scales, const float* middles, int64_t stride,
                   float* out) {
  constexpr int64_t kWidth = per_word(E);
  for (int64_t group = 0; group < kBlockTokens / kWidth; ++group) {
    const uint8_t* row = from + value_row_offset(E, dim, group);
    for (int64_t c = 0; c < stride; c += kLanes) {
      Words word = {};
      if (c + kLanes <= dim) {
        word = load_words(row + c * 4);
      } else if (c < dim) {
        std::memcpy(&word, row + c * 4, (dim - c) * 4);
      }
      for (int j = 0; j < kWidth; ++j) {
        const int64_t token = group * kWidth + j;
        Floats x = number_of<E>(word, j, static_cast<int>(group / 4));
        if constexpr (has_token_scale(E)) x *= scales[token];
        if constexpr (E == Element::i4) x += middles[token];
        store_floats(out + token * stride + c, x);
      }
    }
  }
}

const uint8_t* head_of(const Plane& plane, int64_t block, int64_t head, int64_t head_bytes) {
  return plane.base + block * plane.block_bytes + head * head_bytes;
}

// The bf16 keys of block i, where the tail holds it; otherwise null.
const uint8_t* tail_of(const TilePart& part, int64_t i, int64_t head) {
  const ChannelBlocks& channels = part.channels;
  if (!channels.tail || channels.tail_block < 0 || i < channels.tail_block) return nullptr;
  const int64_t place = (i - channels.tail_block) * part.view->kv_heads + head;
  return channels.tail + place * element_bytes(Element::bf16, part.view->k_dim);
}

void float_keys(const TilePart& part, int64_t i, int64_t head, float* out) {
  const KvView& view = *part.view;
  const int64_t dim = view.k_dim, head_bytes = element_bytes(view.k_element, dim);
  if (const uint8_t* tail = tail_of(part, i, head)) {
    return decode_keys<Element::bf16>(tail, dim, nullptr, nullptr, out);
  }
  const uint8_t* from = head_of(view.k, part.ids[i], head, head_bytes);
  const float* token_scale = nullptr;
  const uint16_t* channel = nullptr;
  const int64_t bytes = scale_bytes(view.k_element, dim);
  if (has_token_scale(view.k_element)) {
    token_scale = reinterpret_cast<const float*>(head_of(view.k_scale, part.ids[i], head, bytes));
  } else if (view.k_element == Element::i4_channel) {
    channel = reinterpret_cast<const uint16_t*>(head_of(view.k_scale, part.channels.scale_ids[i], head, bytes));
  }
  choose(view.k_element, [&](auto chosen) {
    if constexpr (is_for_keys(chosen.value)) decode_keys<chosen.value>(from, dim, token_scale, channel, out);
  });
}

void float_values(const TilePart& part, int64_t i, int64_t head, int64_t stride, float* out) {
  const KvView& view = *part.view;
  const int64_t dim = view.v_dim;
  const uint8_t* from = head_of(view.v, part.ids[i], head, element_bytes(view.v_element, dim));
  float scales[kBlockTokens], middles[kBlockTokens];
  if (has_token_scale(view.v_element)) {
    const uint8_t* kept = head_of(view.v_scale, part.ids[i], head, scale_bytes(view.v_element, dim));
    for (int64_t t = 0; t < kBlockTokens; t += kLanes) {
      store_floats(scales + t, token_scales(view.v_element, kept, t));
      if (view.v_element == Element::i4) store_floats(middles + t, token_middles(kept, t));
    }
  }
  choose(view.v_element, [&](auto chosen) {
    if constexpr (is_for_values(chosen.value)) decode_values<chosen.value>(from, dim, scales, middles, stride, out);
  });
}

// Tokens of block i that no query of the tile reads may hold anything, NaN among it: zero.
void clean_keys(const TilePart& part, Span span, int64_t i, float* keys) {
  for (int64_t t = 0; t < kBlockTokens; ++t) {
    const int64_t position = part.first + i * kBlockTokens + t;
    if (position >= span.low && position < span.high) continue;
    for (int64_t d = 0; d < part.view->k_dim; ++d) keys[d * kBlockTokens + t] = 0.0f;
  }
}

void clean_values(const TilePart& part, Span span, int64_t i, int64_t stride, float* values) {
  for (int64_t t = 0; t < kBlockTokens; ++t) {
    const int64_t position = part.first + i * kBlockTokens + t;
    if (position < span.low || position >= span.high) std::memset(values + t * stride, 0, stride * 4);
  }
}

}  // namespace
WINDOWTAX_END_LEVEL
