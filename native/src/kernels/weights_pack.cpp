// Float32 rows or ready codes into packed units, and back. Works unit by unit on a transposed copy [column][lane], so
// that every inner loop runs over the 16 lanes and vectorises at every level.

#include "kernels/weights.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

struct Scales {
  float scale[kRows];
  float least[kRows];
};

// Columns first ... of up to 16 rows, transposed; past the rows and columns there are, zero.
void transpose_unit(const float* values, int64_t rows, int64_t columns, int64_t first, float (*out)[kRows]) {
  const int width = static_cast<int>(smaller(kGroup, columns - first));
  if (rows < kRows || width < kColumns) memset(out, 0, sizeof(float) * kUnitNumbers);
  for (int lane = 0; lane < smaller(rows, kRows); ++lane) {
    const float* row = values + lane * columns + first;
    for (int k = 0; k < width; ++k) out[k][lane] = row[k];
  }
}

void put_f32(const float (*in)[kRows], uint8_t* unit) { memcpy(unit, in, sizeof(float) * kUnitNumbers); }

void put_bf16(const float (*in)[kRows], uint8_t* unit) {
  for (int pair = 0; pair < kColumns / 2; ++pair) {
    uint32_t words[kRows];
    for (int lane = 0; lane < kRows; ++lane) {
      const uint32_t low = to_bf16(in[2 * pair][lane]), high = to_bf16(in[2 * pair + 1][lane]);
      words[lane] = low | high << 16;
    }
    memcpy(unit + pair * sizeof words, words, sizeof words);
  }
}

void put_fp16(const float* rounded, uint8_t* out) {
  uint16_t bits[kRows];
  for (int lane = 0; lane < kRows; ++lane) bits[lane] = fp16_bits(rounded[lane]);
  memcpy(out, bits, sizeof bits);
}

// Codes of a unit as words: byte i of quads[j][lane] is that of column 4 j + i, -127..127 (q8), -16..15 (q5), else from 0.
using Quads = uint32_t[kColumns / 4][kRows];

// The low four bits.
void put_nibbles(const Quads& quads, uint8_t* unit) {
  constexpr uint32_t kLow = 0x0f0f0f0f;
  for (int quad = 0; quad < kColumns / 8; ++quad) {
    uint32_t words[kRows];
    for (int lane = 0; lane < kRows; ++lane)
      words[lane] = (quads[quad][lane] & kLow) | (quads[quad + 4][lane] & kLow) << 4;
    memcpy(unit + quad * sizeof words, words, sizeof words);
  }
}

// `flip`: the fifth bits of codes that are kept as 16 more.
void put_fifths(const Quads& quads, uint32_t flip, uint8_t* unit) {
  uint32_t words[kRows] = {};
  for (int quad = 0; quad < kColumns / 4; ++quad)
    for (int lane = 0; lane < kRows; ++lane) words[lane] |= ((quads[quad][lane] ^ flip) >> 4 & 0x01010101) << quad;
  memcpy(unit + kFifths, words, sizeof words);
}

void put_codes(WeightFormat format, const Quads& quads, const Scales& scales, uint8_t* unit) {
  uint8_t* behind = unit + code_bytes(format);
  if (format == WeightFormat::q8) {
    memcpy(unit, quads, sizeof quads);
  } else {
    put_nibbles(quads, unit);
    if (format != WeightFormat::q4) put_fifths(quads, has_least(format) ? 0 : kFifthOffset * 0x01010101u, unit);
  }
  put_fp16(scales.scale, behind);
  if (has_least(format)) put_fp16(scales.least, behind + 2 * kRows);
}

// codes[k][lane] as words.
void join_codes(const int32_t (*codes)[kRows], Quads& quads) {
  for (int quad = 0; quad < kColumns / 4; ++quad)
    for (int lane = 0; lane < kRows; ++lane) {
      uint32_t word = 0;
      for (int i = 0; i < 4; ++i) word |= (static_cast<uint32_t>(codes[4 * quad + i][lane]) & 0xff) << 8 * i;
      quads[quad][lane] = word;
    }
}

// Without a least: the scale takes the greatest magnitude to the greatest code.
void quantise_signed(const float (*in)[kRows], float most, Scales& scales, int32_t (*codes)[kRows]) {
  float inverse[kRows], greatest[kRows] = {};
  for (int k = 0; k < kColumns; ++k)
    for (int lane = 0; lane < kRows; ++lane) {
      const float magnitude = float_of(bits_of(in[k][lane]) & 0x7fffffffu);
      greatest[lane] = magnitude > greatest[lane] ? magnitude : greatest[lane];
    }
  for (int lane = 0; lane < kRows; ++lane) {
    scales.scale[lane] = round_to_fp16(greatest[lane] / most);
    inverse[lane] = scales.scale[lane] > 0.0f ? 1.0f / scales.scale[lane] : 0.0f;
  }
  for (int k = 0; k < kColumns; ++k)
    for (int lane = 0; lane < kRows; ++lane) {
      float code = in[k][lane] * inverse[lane];
      code = code > most ? most : code;
      code = code < -most ? -most : code;
      codes[k][lane] = static_cast<int32_t>(round_even(code));
    }
}

// With a least: codes 0 ... most.
inline float code_above(float value, float least, float inverse, float most) {
  float code = (value - least) * inverse;
  code = code > most ? most : code;
  code = code < 0.0f ? 0.0f : code;
  return round_even(code);
}

// Codes by the scales given, and from those codes the scale and least of smallest squared error (linear regression of
// the values on the codes). `error` is that of the scales given.
void refine(const float (*in)[kRows], float most, const Scales& given, Scales& better, float* error) {
  float inverse[kRows], q[kRows] = {}, qq[kRows] = {}, w[kRows] = {}, wq[kRows] = {};
  for (int lane = 0; lane < kRows; ++lane) {
    inverse[lane] = given.scale[lane] > 0.0f ? 1.0f / given.scale[lane] : 0.0f;
    error[lane] = 0.0f;
  }
  for (int k = 0; k < kColumns; ++k)
    for (int lane = 0; lane < kRows; ++lane) {
      const float value = in[k][lane];
      const float code = code_above(value, given.least[lane], inverse[lane], most);
      const float off = value - (given.scale[lane] * code + given.least[lane]);
      q[lane] += code;
      qq[lane] += code * code;
      w[lane] += value;
      wq[lane] += value * code;
      error[lane] += off * off;
    }
  for (int lane = 0; lane < kRows; ++lane) {
    const float spread = kColumns * qq[lane] - q[lane] * q[lane];
    const float slope = spread > 0.0f ? (kColumns * wq[lane] - w[lane] * q[lane]) / spread : 0.0f;
    const float scale = round_to_fp16(slope > 0.0f ? slope : 0.0f);
    better.scale[lane] = scale;
    better.least[lane] = round_to_fp16((w[lane] - scale * q[lane]) / kColumns);
  }
}

void keep_better(const Scales& tried, const float* error, Scales& best, float* best_error) {
  for (int lane = 0; lane < kRows; ++lane) {
    const bool better = error[lane] < best_error[lane];
    best.scale[lane] = better ? tried.scale[lane] : best.scale[lane];
    best.least[lane] = better ? tried.least[lane] : best.least[lane];
    best_error[lane] = better ? error[lane] : best_error[lane];
  }
}

// The range from the least to the greatest value, and somewhat narrower ones about its middle, each refined; of all
// these the one with the smallest squared error.
Scales search(const float (*in)[kRows], float most) {
  constexpr float kShare[] = {1.0f, 0.93f, 0.86f, 0.79f};
  float low[kRows], high[kRows], error[kRows], best_error[kRows];
  memcpy(low, in[0], sizeof low);
  memcpy(high, in[0], sizeof high);
  for (int k = 1; k < kColumns; ++k)
    for (int lane = 0; lane < kRows; ++lane) {
      low[lane] = in[k][lane] < low[lane] ? in[k][lane] : low[lane];
      high[lane] = in[k][lane] > high[lane] ? in[k][lane] : high[lane];
    }
  Scales best = {};
  for (int lane = 0; lane < kRows; ++lane) best_error[lane] = INFINITY;
  for (const float share : kShare) {
    Scales tried, refined, last;
    for (int lane = 0; lane < kRows; ++lane) {
      const float range = high[lane] - low[lane];
      tried.scale[lane] = round_to_fp16(range * share / most);
      tried.least[lane] = round_to_fp16(low[lane] + range * (1.0f - share) * 0.5f);
    }
    refine(in, most, tried, refined, error);
    keep_better(tried, error, best, best_error);
    refine(in, most, refined, last, error);
    keep_better(refined, error, best, best_error);
  }
  return best;
}

void quantise_above(const float (*in)[kRows], float most, Scales& scales, int32_t (*codes)[kRows]) {
  float inverse[kRows];
  scales = search(in, most);
  for (int lane = 0; lane < kRows; ++lane)
    inverse[lane] = scales.scale[lane] > 0.0f ? 1.0f / scales.scale[lane] : 0.0f;
  for (int k = 0; k < kColumns; ++k)
    for (int lane = 0; lane < kRows; ++lane)
      codes[k][lane] = static_cast<int32_t>(code_above(in[k][lane], scales.least[lane], inverse[lane], most));
}

void pack_unit(WeightFormat format, const float (*in)[kRows], uint8_t* unit) {
  Scales scales;
  int32_t codes[kColumns][kRows];
  switch (format) {
    case WeightFormat::f32:
      return put_f32(in, unit);
    case WeightFormat::bf16:
      return put_bf16(in, unit);
    case WeightFormat::q8:
      quantise_signed(in, 127.0f, scales, codes);
      break;
    case WeightFormat::q5:
      quantise_signed(in, 15.0f, scales, codes);
      break;
    case WeightFormat::q4:
      quantise_above(in, 15.0f, scales, codes);
      break;
    case WeightFormat::q5_least:
      quantise_above(in, 31.0f, scales, codes);
      break;
  }
  Quads quads;
  join_codes(codes, quads);
  put_codes(format, quads, scales, unit);
}

// A group's scales of up to 16 rows; rows that there are not get zero.
void gather_scales(const float* values, int64_t rows, int64_t groups, int64_t group, float* out) {
  for (int lane = 0; lane < kRows; ++lane)
    out[lane] = lane < rows && values ? round_to_fp16(values[lane * groups + group]) : 0.0f;
}

// Columns first ... of up to 16 rows; of rows that there are not, zeros.
void gather_codes(const int8_t* codes, int64_t rows, int64_t columns, int64_t first, Quads& quads) {
  if (rows < kRows) memset(quads, 0, sizeof quads);
  for (int lane = 0; lane < smaller(rows, kRows); ++lane) {
    uint32_t words[kColumns / 4];
    memcpy(words, codes + lane * columns + first, sizeof words);
    for (int quad = 0; quad < kColumns / 4; ++quad) quads[quad][lane] = words[quad];
  }
}

}  // namespace

void pack(WeightFormat format, const float* values, int64_t rows, int64_t columns, uint8_t* out) {
  alignas(64) float unit[kColumns][kRows];
  for (int64_t row = 0; row < rows; row += kRows)
    for (int64_t first = 0; first < columns; first += kColumns, out += unit_bytes(format)) {
      transpose_unit(values + row * columns, rows - row, columns, first, unit);
      pack_unit(format, unit, out);
    }
}

void pack_codes(WeightFormat format, const int8_t* codes, const float* scale, const float* least, int64_t rows,
                int64_t columns, uint8_t* out) {
  const int64_t groups = units_of(columns);
  Quads quads;
  Scales scales;
  for (int64_t row = 0; row < rows; row += kRows)
    for (int64_t group = 0; group < groups; ++group, out += unit_bytes(format)) {
      const int64_t left = rows - row;
      gather_codes(codes + row * columns, left, columns, group * kGroup, quads);
      gather_scales(scale + row * groups, left, groups, group, scales.scale);
      gather_scales(least ? least + row * groups : nullptr, left, groups, group, scales.least);
      put_codes(format, quads, scales, out);
    }
}

void unpack_row(const Matrix& matrix, int64_t row, float* out) {
  const int lane = static_cast<int>(row % kRows);
  const int64_t size = unit_bytes(matrix.format);
  const uint8_t* unit = matrix.data + row / kRows * matrix.units() * size;
  float numbers[kUnitNumbers];
  for (int64_t first = 0; first < matrix.columns; first += kColumns, unit += size) {
    unit_to_f32(matrix.format, unit, numbers);
    const int width = static_cast<int>(smaller(kGroup, matrix.columns - first));
    for (int k = 0; k < width; ++k) out[first + k] = numbers[place_f32(k, lane)];
  }
}

WINDOWTAX_END_LEVEL
