// Random numbers and the codes of fuzz_prefill: what their bits mean and where they lie, written from kernels.h alone.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include "kernels.h"

namespace {

using namespace windowtax;

std::mt19937_64 random_bits;

int64_t between(int64_t least, int64_t most) {
  return least + static_cast<int64_t>(random_bits() % static_cast<uint64_t>(most - least + 1));
}
bool one_in(int64_t n) { return between(1, n) == 1; }
float normal() { return static_cast<float>(std::normal_distribution<double>()(random_bits)); }
template <typename T>
T any_of(std::initializer_list<T> choices) {
  return choices.begin()[between(0, static_cast<int64_t>(choices.size()) - 1)];
}

uint16_t bf16_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
float bf16_value(uint16_t code) { return float_of(static_cast<uint32_t>(code) << 16); }
float rounded(float x) { return bf16_value(bf16_bits(x)); }

double code_value(Element element, uint32_t code) {
  switch (element) {
    case Element::f32:
      return float_of(code);
    case Element::bf16:
      return bf16_value(static_cast<uint16_t>(code));
    case Element::i8:
      return static_cast<int8_t>(code);
    default: {
      const int mantissa_bits = element == Element::f16 ? 10 : 3, exponent_bits = element == Element::f16 ? 5 : 4;
      const int mantissa = static_cast<int>(code) & ((1 << mantissa_bits) - 1);
      const int exponent = static_cast<int>(code) >> mantissa_bits & ((1 << exponent_bits) - 1);
      const int bias = (1 << (exponent_bits - 1)) - 1;
      const double size = exponent ? std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)
                                   : std::ldexp(mantissa, 1 - bias - mantissa_bits);
      return code >> (mantissa_bits + exponent_bits) & 1 ? -size : size;
    }
  }
}

// A code whose value is about normal times size.
uint32_t random_code(Element element, float size) {
  const float x = normal() * size;
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  switch (element) {
    case Element::f32:
      return bits;
    case Element::bf16:
      return bf16_bits(x);
    case Element::i8:
      return static_cast<uint8_t>(between(-127, 127));
    default: {  // any code with an exponent that is neither huge nor the one of NaN
      const bool half = element == Element::f16;
      const auto exponent = static_cast<uint32_t>(half ? between(0, 16) : between(0, 8));
      return static_cast<uint32_t>(half ? between(0, 1) << 15 | between(0, 1023) : between(0, 1) << 7 | between(0, 7)) |
             exponent << (half ? 10 : 3);
    }
  }
}

int64_t width_of(Element e) { return e == Element::f32 ? 1 : e == Element::f16 || e == Element::bf16 ? 2 : 4; }
bool four_bits(Element e) { return e == Element::i4 || e == Element::i4_channel; }

// The index of a number in a head of a block, as kernels.h arranges it.
int64_t key_index(Element e, int64_t dim, int64_t token, int64_t d) {
  const int64_t w = width_of(e);
  return ((token / 16 * (dim / w) + d / w) * 16 + token % 16) * w + d % w;
}
int64_t value_index(Element e, int64_t dim, int64_t token, int64_t c) {
  const int64_t w = width_of(e);
  return (token / w * dim + c) * w + token % w;
}

}  // namespace
