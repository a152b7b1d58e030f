// How keys and values lie in a block (see KvView in kernels.h), and what their bits mean.
//
// Every arrangement is rows of 32-bit words, and a word holds kPerWord numbers: of keys, one token's neighbouring
// channels, a row being 16 tokens; of values, one channel's neighbouring tokens, a row being all channels. 4-bit blocks
// lie as 8-bit ones of half the height: a byte's low nibble belongs to the block's tokens 0..15, its high nibble to
// tokens 16..31. i4 nibbles are two's complement, so that a nibble in the upper half of a byte is 16 q as it stands.

#pragma once

#include "kernels/lanes.h"

WINDOWTAX_BEGIN_LEVEL

constexpr int64_t kHalf = 16;              // tokens of a block that share a row of keys
constexpr int64_t kRowBytes = 4 * kHalf;  // of a row of keys

constexpr bool is_nibble(Element e) { return e == Element::i4 || e == Element::i4_channel; }
constexpr bool has_token_scale(Element e) { return e == Element::i8 || e == Element::i4; }
constexpr bool is_for_keys(Element e) { return e != Element::i4; }
constexpr bool is_for_values(Element e) { return e != Element::i4_channel; }
constexpr int64_t per_word(Element e) {
  return e == Element::f32 ? 1 : e == Element::f16 || e == Element::bf16 ? 2 : 4;
}

// Where the keys of token half `half` begin, and the values of token group `group` (= token / per_word).
static inline int64_t key_half_offset(Element e, int64_t dim, int64_t half) {
  return is_nibble(e) ? 0 : half * (dim / per_word(e)) * kRowBytes;
}
static inline int64_t value_row_offset(Element e, int64_t dim, int64_t group) {
  return (is_nibble(e) ? group % 4 : group) * dim * 4;
}

// Calls fn(integral constant) for the element, so that a template is chosen at run time.
template <Element E>
struct Chosen {
  static constexpr Element value = E;
};
template <typename Fn>
static inline void choose(Element element, Fn fn) {
  switch (element) {
    case Element::f32: return fn(Chosen<Element::f32>());
    case Element::f16: return fn(Chosen<Element::f16>());
    case Element::bf16: return fn(Chosen<Element::bf16>());
    case Element::f8: return fn(Chosen<Element::f8>());
    case Element::i8: return fn(Chosen<Element::i8>());
    case Element::i4: return fn(Chosen<Element::i4>());
    case Element::i4_channel: return fn(Chosen<Element::i4_channel>());
  }
}

// --- from codes to floats -------------------------------------------------------------------------------------------

static inline Floats from_f16(Words code) {
  const Words sign = (code & 0x8000u) << 16, size = (code & 0x7fffu) << 13;
  const Floats scaled = (Floats)size * 0x1p112f;  // rebias of the exponent, right for subnormals too
  return (Floats)(((code & 0x7c00u) == 0x7c00u ? size | 0x7f800000u : (Words)scaled) | sign);
}

static inline Floats from_f8(Words code) {
  const Words sign = (code & 0x80u) << 24, size = (code & 0x7fu) << 20;
  const Floats scaled = (Floats)size * 0x1p120f;
  return (Floats)(((code & 0x7fu) == 0x7fu ? (code & 0u) | 0x7fc00000u : (Words)scaled) | sign);
}

// Number j of every word. `upper`: the high nibble of its byte.
template <Element E>
static inline Floats number_of(Words word, int j, int upper) {
  if constexpr (E == Element::f32) return (Floats)word;
  if constexpr (E == Element::bf16) return (Floats)(j ? word & 0xffff0000u : word << 16);
  if constexpr (E == Element::f16) return from_f16(word >> (16 * j) & 0xffffu);
  if constexpr (E == Element::f8) return from_f8(word >> (8 * j) & 0xffu);
  if constexpr (E == Element::i8) return __builtin_convertvector((Ints)(word << (24 - 8 * j)) >> 24, Floats);
  if constexpr (E == Element::i4)
    return __builtin_convertvector((Ints)(word << (28 - 8 * j - 4 * upper)) >> 28, Floats);
  if constexpr (E == Element::i4_channel)
    return __builtin_convertvector((Ints)(word >> (8 * j + 4 * upper) & 15u), Floats);
}

typedef uint16_t Shorts __attribute__((vector_size(2 * kLanes)));

static inline Floats load_f16(const uint8_t* from) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
  Shorts codes;
  std::memcpy(&codes, from, sizeof codes);
  return from_f16(__builtin_convertvector(codes, Words));
#endif
}

// The scales of one head's tokens `first` ... in a block, and what i4 adds to their scaled codes.
static inline Floats token_scales(Element e, const uint8_t* scales, int64_t first) {
  return e == Element::i4 ? load_f16(scales + first * 2) : load_floats(scales + first * 4);
}
static inline Floats token_middles(const uint8_t* scales, int64_t first) {
  return load_f16(scales + (kBlockTokens + first) * 2);
}

// --- from floats to codes, rounding to nearest even -----------------------------------------------------------------

static inline Words to_bf16(Floats x) {
  const Words bits = (Words)x;
  return x != x ? (bits & 0u) | 0x7fc0u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

// Beyond the greatest finite number: infinity.
static inline Words to_f16(Floats x) {
  const Words bits = (Words)x, size = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
  const Words normal = (size - (112u << 23) + 0xfffu + (size >> 13 & 1u)) >> 13;
  const Words subnormal = (Words)((Floats)size + 0.5f) - 0x3f000000u;  // 0.5 has the unit of f16's subnormals
  Words code = size < (113u << 23) ? subnormal : normal;
  code = size >= 0x477ff000u ? (size & 0u) | 0x7c00u : code;
  code = size > 0x7f800000u ? (size & 0u) | 0x7e00u : code;
  return code | sign;
}

// Beyond the greatest finite number, 448: that number.
static inline Words to_f8(Floats x) {
  const Words bits = (Words)x, size = bits & 0x7fffffffu, sign = bits >> 24 & 0x80u;
  const Words normal = (size - (120u << 23) + 0x7ffffu + (size >> 20 & 1u)) >> 20;
  const Words subnormal = (Words)((Floats)size + 16384.0f) - 0x46800000u;  // 16384 has the unit of its subnormals
  Words code = size < (121u << 23) ? subnormal : normal;
  code = size >= 0x43e00000u ? (size & 0u) | 0x7eu : code;
  code = size > 0x7f800000u ? (size & 0u) | 0x7fu : code;
  return code | sign;
}

// The nearest integer, ties to even, of |x| < 2^22.
static inline Ints nearest(Floats x) { return (Ints)(x + 12582912.0f) - 0x4b400000; }

WINDOWTAX_END_LEVEL
