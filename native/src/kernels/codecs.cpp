// Keys and values into blocks and back, and the blocks' summaries.

#include "kernels/codes.h"
#include "kernels/parts.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

constexpr int64_t kCodes = 64;  // numbers encoded at a time; a multiple of every vector and word

float absolute_maximum(const float* x, int64_t count) {
  Floats greatest = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    greatest = greater_lanes((Floats)(load_first(x + i, count - i) & 0x7fffffffu), greatest);
  }
  return greatest_of_lanes(greatest);
}

uint16_t to_f16_one(float x) { return uint16_t(to_f16(all_lanes(x))[0]); }
float from_f16_one(uint16_t code) { return from_f16(Words{} + code)[0]; }

// The scale of one token's numbers, what they lie about, and what to multiply them by.
struct Scale {
  float scale, middle, inverse;
};

// Scale and middle are rounded before codes are chosen, so that codes make up for their rounding.
Scale range_of(const float* x, int64_t dim) {
  Floats lows = all_lanes(x[0]), highs = lows;
  for (int64_t i = 0; i + kLanes <= dim; i += kLanes) {
    const Floats some = load_floats(x + i);
    lows = some < lows ? some : lows;
    highs = greater_lanes(some, highs);
  }
  float low = -greatest_of_lanes(-lows), high = greatest_of_lanes(highs);
  for (int64_t i = dim / kLanes * kLanes; i < dim; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  const float step = (high - low) / 15.0f, scale = from_f16_one(to_f16_one(step));
  return {scale, from_f16_one(to_f16_one(low + 8.0f * step)), scale > 0 ? 1.0f / scale : 0.0f};
}

template <Element E>
Scale scale_of(const float* x, int64_t dim) {
  if constexpr (!has_token_scale(E)) return {1, 0, 1};
  if constexpr (E == Element::i4) return range_of(x, dim);
  const float greatest = absolute_maximum(x, dim);
  return {greatest / 127.0f, 0, greatest >= 1e-37f ? 127.0f / greatest : 0.0f};
}

template <Element E>
void put_scale(uint8_t* scales, int64_t token, const Scale& scale) {
  if constexpr (E == Element::i4) {
    uint16_t* to = reinterpret_cast<uint16_t*>(scales);
    to[token] = to_f16_one(scale.scale);
    to[kBlockTokens + token] = to_f16_one(scale.middle);
  } else if constexpr (has_token_scale(E)) {
    std::memcpy(scales + token * 4, &scale.scale, 4);
  }
}

// The codes of up to kCodes numbers, one per word and zero beyond `count`.
template <Element E>
void encode(const float* x, int64_t count, const Scale& scale, uint32_t* codes) {
  for (int64_t i = 0; i < kCodes; i += kLanes) {
    const Floats value = i < count ? (Floats)load_first(x + i, count - i) : Floats{};
    Words code;
    if constexpr (E == Element::f32) code = (Words)value;
    if constexpr (E == Element::bf16) code = to_bf16(value);
    if constexpr (E == Element::f16) code = to_f16(value);
    if constexpr (E == Element::f8) code = to_f8(value);
    if constexpr (E == Element::i8) code = (Words)nearest(value * scale.inverse) & 0xffu;
    if constexpr (E == Element::i4) {
      Floats q = (value - scale.middle) * scale.inverse;
      q = q > -8.0f ? q : all_lanes(-8.0f);
      code = (Words)nearest(q < 7.0f ? q : all_lanes(7.0f)) & 0xfu;
    }
    std::memcpy(codes + i, &code, sizeof code);
  }
}

template <Element E>
constexpr uint32_t kCodeMask = E == Element::f32 ? ~0u : per_word(E) == 2 ? 0xffffu : is_nibble(E) ? 0xfu : 0xffu;

// One token's keys x [dim] into its lane of the block.
template <Element E>
void put_key(uint8_t* block, int64_t dim, int64_t token, const float* x, const Scale& scale) {
  constexpr int64_t per = per_word(E), bits = 32 / per;
  const int64_t half = token / kHalf, nibble = is_nibble(E) ? 4 * half : 0;
  constexpr uint32_t every = per == 4 ? 0x01010101u : per == 2 ? 0x00010001u : 1u;
  const uint32_t kept = is_nibble(E) ? ~(every * 0xfu << nibble) : 0u;
  uint8_t* to = block + key_half_offset(E, dim, half) + token % kHalf * 4;
  uint32_t codes[kCodes];
  for (int64_t first = 0; first < dim; first += kCodes) {
    const int64_t count = dim - first < kCodes ? dim - first : kCodes;
    encode<E>(x + first, count, scale, codes);
    for (int64_t c = 0; c < count; c += per, to += kRowBytes) {
      uint32_t word = 0;
      for (int64_t j = 0; j < per; ++j) word |= codes[c + j] << (bits * j);
      if (is_nibble(E)) {
        uint32_t old;
        std::memcpy(&old, to, 4);
        word = (old & kept) | word << nibble;
      }
      std::memcpy(to, &word, 4);
    }
  }
}

// One token's values x [dim] into its part of the words of a row.
template <Element E>
void put_value(uint8_t* block, int64_t dim, int64_t token, const float* x, const Scale& scale) {
  constexpr int64_t per = per_word(E);
  const int shift = int(token % per * (32 / per) + (is_nibble(E) ? token / kHalf * 4 : 0));
  const uint32_t kept = ~(kCodeMask<E> << shift);
  uint8_t* row = block + value_row_offset(E, dim, token / per);
  uint32_t codes[kCodes];
  for (int64_t first = 0; first < dim; first += kCodes) {
    const int64_t count = dim - first < kCodes ? dim - first : kCodes;
    encode<E>(x + first, count, scale, codes);
    for (int64_t c = 0; c < count; ++c) {
      uint32_t word;
      std::memcpy(&word, row + (first + c) * 4, 4);
      word = (word & kept) | codes[c] << shift;
      std::memcpy(row + (first + c) * 4, &word, 4);
    }
  }
}

// A bf16 key block to codes with a scale and a least value per channel.
void quantise_channels(const uint8_t* keys, int64_t dim, uint8_t* codes, uint16_t* scales) {
  constexpr int64_t kVectors = kHalf / kLanes;  // per half
  uint16_t* const leasts = scales + dim;
  for (int64_t c = 0; c < dim; ++c) {
    Floats x[2 * kVectors], low = all_lanes(INFINITY), high = all_lanes(-INFINITY);
    for (int64_t i = 0; i < 2 * kVectors; ++i) {
      const uint8_t* from = keys + i / kVectors * (dim / 2 * kRowBytes) + c / 2 * kRowBytes + i % kVectors * 4 * kLanes;
      x[i] = number_of<Element::bf16>(load_words(from), int(c % 2), 0);
      low = x[i] < low ? x[i] : low;
      high = greater_lanes(x[i], high);
    }
    const float least_exact = -greatest_of_lanes(-low);
    scales[c] = to_f16_one((greatest_of_lanes(high) - least_exact) / 15.0f);
    leasts[c] = to_f16_one(least_exact);
    const float scale = from_f16_one(scales[c]), least = from_f16_one(leasts[c]);
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (int64_t i = 0; i < kVectors; ++i) {
      Words nibbles[2];
      for (int64_t half = 0; half < 2; ++half) {
        Floats code = (x[half * kVectors + i] - least) * inverse;
        code = code > 0.0f ? code : Floats{};
        nibbles[half] = (Words)nearest(code < 15.0f ? code : all_lanes(15.0f));
      }
      // The four channels of a row are the bytes of its words; channel 0 starts the words anew.
      uint8_t* to = codes + c / 4 * kRowBytes + i * 4 * kLanes;
      const Words others = c % 4 ? load_words(to) : Words{};
      const Words word = others | (nibbles[0] | nibbles[1] << 4) << uint32_t(8 * (c % 4));
      std::memcpy(to, &word, sizeof word);
    }
  }
}

// One side of a view: its keys or its values.
struct Side {
  Element element;
  int64_t dim;
  const Plane& plane;
  const Plane& scales;

  uint8_t* head(int64_t block_id, int64_t head) const {
    return plane.base + block_id * plane.block_bytes + head * element_bytes(element, dim);
  }
  uint8_t* head_scales(int64_t block_id, int64_t head) const {
    return scales.base + block_id * scales.block_bytes + head * scale_bytes(element, dim);
  }
};

Side keys_of(const KvView& view) { return {view.k_element, view.k_dim, view.k, view.k_scale}; }
Side values_of(const KvView& view) { return {view.v_element, view.v_dim, view.v, view.v_scale}; }

template <Element E, bool kKeys>
void append_side(const Side& side, int64_t kv_heads, int64_t block_id, int64_t offset, int64_t tokens, const float* x,
                 int64_t stride) {
  for (int64_t head = 0; head < kv_heads; ++head) {
    uint8_t* block = side.head(block_id, head);
    for (int64_t t = 0; t < tokens; ++t) {
      const float* row = x + t * stride + head * side.dim;
      const Scale scale = scale_of<E>(row, side.dim);
      (kKeys ? put_key<E> : put_value<E>)(block, side.dim, offset + t, row, scale);
      if (has_token_scale(E)) put_scale<E>(side.head_scales(block_id, head), offset + t, scale);
    }
  }
}

void append_channels(const KvView& view, int64_t block_id, int64_t scale_id, uint8_t* tail, int64_t offset,
                     int64_t tokens, const float* k, int64_t stride) {
  const Side keys = keys_of(view);
  const int64_t dim = view.k_dim;
  const Plane plane = {tail, 0};
  append_side<Element::bf16, true>({Element::bf16, dim, plane, plane}, view.kv_heads, 0, offset, tokens, k, stride);
  if (offset + tokens < kBlockTokens) return;
  for (int64_t head = 0; head < view.kv_heads; ++head) {
    uint8_t* block = keys.head(block_id, head);
    uint16_t* scales = reinterpret_cast<uint16_t*>(keys.head_scales(scale_id, head));
    quantise_channels(tail + head * element_bytes(Element::bf16, dim), dim, block, scales);
  }
}

void append(const KvView& view, int64_t block_id, int64_t scale_id, uint8_t* tail, int64_t offset, int64_t tokens,
            const float* k, const float* v, int64_t stride) {
  choose(view.k_element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (E == Element::i4_channel) {
      append_channels(view, block_id, scale_id, tail, offset, tokens, k, stride);
    } else if constexpr (is_for_keys(E)) {
      append_side<E, true>(keys_of(view), view.kv_heads, block_id, offset, tokens, k, stride);
    }
  });
  choose(view.v_element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (is_for_values(E)) {
      append_side<E, false>(values_of(view), view.kv_heads, block_id, offset, tokens, v, stride);
    }
  });
}

// The scale and the middle of one token's numbers.
template <Element E>
Scale scale_at(const uint8_t* scales, int64_t token) {
  if constexpr (!has_token_scale(E)) return {1, 0, 1};
  const int64_t first = token / kLanes * kLanes, lane = token % kLanes;
  return {token_scales(E, scales, first)[lane], E == Element::i4 ? token_middles(scales, first)[lane] : 0, 0};
}

void read_keys(const KvView& view, int64_t block_id, int64_t scale_id, int64_t head, float* out) {
  const Side side = keys_of(view);
  const int64_t dim = side.dim;
  const uint8_t* block = side.head(block_id, head);
  choose(view.k_element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    constexpr int64_t per = per_word(E);
    for (int64_t t = 0; t < kBlockTokens; t += kLanes) {
      const uint8_t* from = block + key_half_offset(E, dim, t / kHalf) + t % kHalf * 4;
      for (int64_t c = 0; c < dim; ++c) {
        const Floats x = number_of<E>(load_words(from + c / per * kRowBytes), int(c % per), int(t / kHalf));
        for (int64_t lane = 0; lane < kLanes; ++lane) out[(t + lane) * dim + c] = x[lane];
      }
    }
    if constexpr (has_token_scale(E)) {
      for (int64_t i = 0; i < kBlockTokens * dim; ++i) {
        out[i] *= scale_at<E>(side.head_scales(block_id, head), i / dim).scale;
      }
    }
    if constexpr (E == Element::i4_channel) {
      const uint16_t* scales = reinterpret_cast<const uint16_t*>(side.head_scales(scale_id, head));
      for (int64_t i = 0; i < kBlockTokens * dim; ++i) {
        out[i] = out[i] * from_f16_one(scales[i % dim]) + from_f16_one(scales[dim + i % dim]);
      }
    }
  });
}

void read_values(const KvView& view, int64_t block_id, int64_t head, float* out) {
  const Side side = values_of(view);
  const int64_t dim = side.dim;
  const uint8_t* block = side.head(block_id, head);
  choose(view.v_element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    constexpr int64_t per = per_word(E);
    for (int64_t t = 0; t < kBlockTokens; ++t) {
      const uint8_t* row = block + value_row_offset(E, dim, t / per);
      const Scale scale = scale_at<E>(side.head_scales(block_id, head), t);
      for (int64_t c = 0; c < dim; ++c) {
        uint32_t word;
        std::memcpy(&word, row + c * 4, 4);
        out[t * dim + c] = number_of<E>(Words{} + word, int(t % per), int(t / kHalf))[0] * scale.scale + scale.middle;
      }
    }
  });
}

// bf16 towards minus infinity (kDown) or plus infinity.
template <bool kDown>
Shorts round_towards(Floats x) {
  const Words bits = (Words)x, negative = (Words)((Ints)bits >> 31);
  const Words away = kDown ? negative : ~negative;  // away from zero is the way to go
  return __builtin_convertvector((bits + (away & 0xffffu)) >> 16, Shorts);
}

// Updates kLanes channels, of which `count` exist.
void summarise_lanes(uint8_t* minimum, uint8_t* maximum, int64_t count, bool anew, int64_t tokens, const float* k,
                     int64_t stride) {
  const size_t bytes = size_t(count < kLanes ? count : kLanes) * 2;
  Floats low = all_lanes(INFINITY), high = all_lanes(-INFINITY);
  Shorts lows = {}, highs = {};
  if (!anew) {
    std::memcpy(&lows, minimum, bytes);
    std::memcpy(&highs, maximum, bytes);
    low = (Floats)(__builtin_convertvector(lows, Words) << 16);
    high = (Floats)(__builtin_convertvector(highs, Words) << 16);
  }
  for (int64_t t = 0; t < tokens; ++t) {
    const Floats x = (Floats)load_first(k + t * stride, count);
    low = x < low ? x : low;
    high = greater_lanes(x, high);
  }
  lows = round_towards<true>(low);
  highs = round_towards<false>(high);
  std::memcpy(minimum, &lows, bytes);
  std::memcpy(maximum, &highs, bytes);
}

void summarise(uint8_t* minimum, uint8_t* maximum, int64_t kv_heads, int64_t k_dim, int64_t offset, int64_t tokens,
               const float* k, int64_t stride) {
  for (int64_t c = 0; c < kv_heads * k_dim; c += kLanes) {
    summarise_lanes(minimum + 2 * c, maximum + 2 * c, kv_heads * k_dim - c, offset == 0, tokens, k + c, stride);
  }
}

}  // namespace

void add_codecs(Kernels& table) {
  table.append = append;
  table.read_keys = read_keys;
  table.read_values = read_values;
  table.summarise = summarise;
}

WINDOWTAX_END_LEVEL
