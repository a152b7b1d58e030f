// How a packed unit lies in memory (see kernels.h), and the small conversions that every weight kernel shares. Private
// to weights*.cpp.
//
// A unit is 16 matrix rows ("lanes") x 32 columns. q8 codes are signed bytes [8 quads][16 lanes][4]. Of q4, byte
// [quad j < 4][lane][i] holds column 4 j + i in its low nibble and column 16 + 4 j + i in its high one: one mask or one
// shift and mask makes the bytes of q8's arrangement. q5 (with its codes from 0 on: 16 more) and q5_least keep the low
// four bits so, and behind them bytes [lane][i] of the fifth: bit j is that of column 4 j + i, so that one shift and
// mask puts those of a quad above its nibbles.

#pragma once

#include "kernels/level.h"

WINDOWTAX_BEGIN_LEVEL

constexpr int kRows = static_cast<int>(kPanelRows);
constexpr int kColumns = static_cast<int>(kGroup);
constexpr int kUnitNumbers = kRows * kColumns;
constexpr int64_t kTileRows = 16;  // rows of activations in a tile

inline int64_t units_of(int64_t columns) { return (columns + kGroup - 1) / kGroup; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Bytes of codes in a unit; behind them the scales, and behind those the leasts.
constexpr int64_t code_bytes(WeightFormat format) {
  return format == WeightFormat::q8 ? 512 : format == WeightFormat::q4 ? 256 : 320;
}
constexpr int64_t kFifths = 256;  // where fifth bits begin
constexpr int32_t kFifthOffset = 16;  // q5's codes are kept as so much more: 0..31

// Where column k of a lane lies in a unit, counted in numbers (f32, bf16) or in bytes (codes).
inline int place_f32(int k, int lane) { return k * kRows + lane; }
inline int place_bf16(int k, int lane) { return (k / 2 * kRows + lane) * 2 + k % 2; }
inline int place_q8(int k, int lane) { return (k / 4 * kRows + lane) * 4 + k % 4; }
inline int place_q4(int k, int lane) { return place_q8(k % 16, lane); }  // low nibble for k < 16

inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline float from_bf16(uint16_t value) { return float_of(static_cast<uint32_t>(value) << 16); }

// To nearest, ties to even.
inline uint16_t to_bf16(float value) {
  const uint32_t bits = bits_of(value);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// fp16 to fp32 for finite numbers. The exponent is re-based by a product, which makes subnormals right as well.
inline float from_fp16(uint16_t value) {
  const float magnitude = float_of(static_cast<uint32_t>(value & 0x7fff) << 13) * 0x1p112f;
  return float_of(bits_of(magnitude) | static_cast<uint32_t>(value & 0x8000) << 16);
}

// The nearest number (ties to even) that fp16 has, still as fp32; beyond its range the greatest finite one.
inline float round_to_fp16(float value) {
  const uint32_t sign = bits_of(value) & 0x80000000u;
  const float magnitude = float_of(bits_of(value) & 0x7fffffffu);
  const uint32_t bits = bits_of(magnitude);
  const float normal = float_of((bits + 0xfffu + (bits >> 13 & 1)) & ~0x1fffu);
  const float subnormal = (magnitude + 0.5f) - 0.5f;  // the spacing of fp32 in [0.5, 1) is fp16's least number
  float rounded = magnitude < 0x1p-14f ? subnormal : normal;
  rounded = rounded > 65504.0f ? 65504.0f : rounded;
  return float_of(bits_of(rounded) | sign);
}

// The bits of a number that round_to_fp16 gave.
inline uint16_t fp16_bits(float rounded) {
  const uint32_t sign = bits_of(rounded) >> 16 & 0x8000u;
  const uint32_t magnitude = bits_of(float_of(bits_of(rounded) & 0x7fffffffu) * 0x1p-112f) >> 13;
  return static_cast<uint16_t>(sign | magnitude);
}

// To nearest, ties to even, for |value| < 2^22; as a sum, so that loops of it vectorise at every level.
inline float round_even(float value) { return (value + 12582912.0f) - 12582912.0f; }

WINDOWTAX_END_LEVEL
