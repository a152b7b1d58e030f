// Products in fp32 multiply-add, at every level: f32 weights as they lie, other formats widened into scratch, a stretch
// of units at a time.

#include "kernels/lanes.h"
#include "kernels/weights.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

constexpr int kVectors = static_cast<int>(kRows / kLanes);  // per panel
constexpr int64_t kStretch = 16;                            // units widened at a time
constexpr int64_t kWidest = 4;                              // panels at a time, at most
static_assert(kWidest * kStretch * kUnitNumbers * 4 <= kScratchBytes);

// Vector v of 16 rows' numbers of 4 bytes.
inline const uint8_t* vector_at(const uint8_t* from, int v) { return from + v * 4 * kLanes; }

void widen_bf16(const uint8_t* unit, float* out) {
  for (int pair = 0; pair < kColumns / 2; ++pair, unit += 4 * kRows, out += 2 * kRows)
    for (int v = 0; v < kVectors; ++v) {
      const Words words = load_words(vector_at(unit, v));
      store_floats(out + v * kLanes, reinterpret_cast<Floats>(words << 16));
      store_floats(out + kRows + v * kLanes, reinterpret_cast<Floats>(words & 0xffff0000u));
    }
}

// 16 rows' scales.
void widen_fp16(const uint8_t* from, Floats (&out)[kVectors]) {
  uint16_t bits[kRows];
  float numbers[kRows];
  memcpy(bits, from, sizeof bits);
#if defined(__F16C__)
  for (int half = 0; half < 2; ++half)
    _mm256_storeu_ps(numbers + 8 * half, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<__m128i*>(bits + 8 * half))));
#else
  for (int row = 0; row < kRows; ++row) numbers[row] = from_fp16(bits[row]);
#endif
  for (int v = 0; v < kVectors; ++v) out[v] = load_floats(numbers + v * kLanes);
}

void widen_q8(const uint8_t* unit, float* out) {
  Floats scale[kVectors];
  widen_fp16(unit + code_bytes(WeightFormat::q8), scale);
  for (int quad = 0; quad < kColumns / 4; ++quad, unit += 4 * kRows, out += 4 * kRows)
    for (int v = 0; v < kVectors; ++v) {
      const Words words = load_words(vector_at(unit, v));
      for (int i = 0; i < 4; ++i) {
        const Ints codes = reinterpret_cast<Ints>(words << (24 - 8 * i)) >> 24;
        store_floats(out + i * kRows + v * kLanes, __builtin_convertvector(codes, Floats) * scale[v]);
      }
    }
}

// Codes in nibbles, and where the format has them in fifth bits.
template <WeightFormat Format>
void widen_nibbles(const uint8_t* unit, float* out) {
  Floats scale[kVectors], least[kVectors];
  const uint8_t *fifths = unit + kFifths, *behind = unit + code_bytes(Format);
  widen_fp16(behind, scale);
  if constexpr (has_least(Format)) widen_fp16(behind + 2 * kRows, least);
  for (int quad = 0; quad < kColumns / 8; ++quad, unit += 4 * kRows, out += 4 * kRows)
    for (int v = 0; v < kVectors; ++v) {
      const Words words = load_words(vector_at(unit, v));
      if constexpr (!has_least(Format)) least[v] = scale[v] * static_cast<float>(-kFifthOffset);
      for (int nibble = 0; nibble < 8; ++nibble) {
        Words codes = words >> 4 * nibble & 15;
        if constexpr (Format != WeightFormat::q4)
          codes |= (load_words(vector_at(fifths, v)) >> (nibble / 2 * 8 + nibble % 2 * 4 + quad) & 1) << 4;
        const int k = nibble / 2 + nibble % 2 * 16;
        const Floats numbers = __builtin_convertvector(reinterpret_cast<Ints>(codes), Floats);
        store_floats(out + k * kRows + v * kLanes, numbers * scale[v] + least[v]);
      }
    }
}

// Activation rows from x on against panels of float units.
struct Block {
  const float* w;
  int64_t panel_stride;
  int64_t columns;
  const float* x;
  int64_t x_stride;
  float* out;
  int64_t out_stride;
  int64_t width;  // of out, in numbers
  bool add;       // onto what `out` holds
};

// One row of a block's results, `panels` panels wide, or less at the matrix's end.
void store_row(const Floats* sums, int64_t count, float* out, int64_t width, bool add) {
  float row[kWidest * kPanelRows];
  if (width < count * kLanes) {
    memcpy(row, sums, sizeof(Floats) * count);
    for (int64_t i = 0; i < width; ++i) out[i] = add ? out[i] + row[i] : row[i];
    return;
  }
  for (int64_t v = 0; v < count; ++v) {
    const Floats sum = add ? load_floats(out + v * kLanes) + sums[v] : sums[v];
    store_floats(out + v * kLanes, sum);
  }
}

template <int Rows, int Panels>
void multiply_block(const Block& block) {
  constexpr int kWide = Panels * kVectors;
  Floats sums[Rows][kWide] = {};
  for (int64_t k = 0; k < block.columns; ++k) {
    Floats w[kWide];
    for (int v = 0; v < kWide; ++v)
      w[v] = load_floats(block.w + v / kVectors * block.panel_stride + k * kRows + v % kVectors * kLanes);
    for (int row = 0; row < Rows; ++row) {
      const Floats x = all_lanes(block.x[row * block.x_stride + k]);
      for (int v = 0; v < kWide; ++v) sums[row][v] += x * w[v];
    }
  }
  for (int row = 0; row < Rows; ++row)
    store_row(sums[row], kWide, block.out + row * block.out_stride, block.width, block.add);
}

// Rows in steps of the level's height; sums stay in registers (32 with AVX-512, else 16).
template <int Panels>
void multiply_rows(Block block, int64_t rows) {
  constexpr int kMost = (kLanes == 16 ? 24 : 8) / (Panels * kVectors);
  const auto step = [&](int64_t height) {
    block.x += height * block.x_stride;
    block.out += height * block.out_stride;
    rows -= height;
  };
  if constexpr (kMost >= 12)
    for (; rows >= 12; step(12)) multiply_block<12, Panels>(block);
  if constexpr (kMost >= 4)
    for (; rows >= 4; step(4)) multiply_block<4, Panels>(block);
  if constexpr (kMost >= 2)
    for (; rows >= 2; step(2)) multiply_block<2, Panels>(block);
  for (; rows >= 1; step(1)) multiply_block<1, Panels>(block);
}

// Panels in one pass: enough independent sums to hide the latency of an addition.
constexpr int64_t panels_at_once(int64_t rows) { return kLanes == 4 ? 1 : rows == 1 ? 4 : kLanes == 16 ? 2 : 1; }

void multiply_panels(const Block& block, int64_t panels, int64_t rows) {
  switch (panels) {
    case 1:
      return multiply_rows<1>(block, rows);
    case 2:
      return multiply_rows<2>(block, rows);
    default:
      return multiply_rows<4>(block, rows);
  }
}

// The panels' units first ... last as floats: where they lie, or widened into scratch.
Block stretch_of(const Product& p, int64_t panel, int64_t panels, int64_t first, int64_t last) {
  const FloatRows x(p.ready, p.matrix.columns);
  Block block = {nullptr, 0, (last - first) * kGroup, x.x + first * kGroup, x.stride, p.column(panel), p.out_stride,
                 p.width(panel, panels), first > 0};
  if (p.matrix.format == WeightFormat::f32) {
    block.w = reinterpret_cast<const float*>(p.panel(panel)) + first * kUnitNumbers;
    block.panel_stride = p.matrix.units() * kUnitNumbers;
    return block;
  }
  float* wide = static_cast<float*>(p.scratch);
  block.w = wide;
  block.panel_stride = (last - first) * kUnitNumbers;
  const int64_t size = unit_bytes(p.matrix.format);
  for (int64_t i = 0; i < panels; ++i)
    for (int64_t unit = first; unit < last; ++unit, wide += kUnitNumbers)
      unit_to_f32(p.matrix.format, p.panel(panel + i) + unit * size, wide);
  return block;
}

}  // namespace

void unit_to_f32(WeightFormat format, const uint8_t* unit, float* out) {
  switch (format) {
    case WeightFormat::f32:
      memcpy(out, unit, sizeof(float) * kUnitNumbers);
      return;
    case WeightFormat::bf16:
      return widen_bf16(unit, out);
    case WeightFormat::q8:
      return widen_q8(unit, out);
    case WeightFormat::q4:
      return widen_nibbles<WeightFormat::q4>(unit, out);
    case WeightFormat::q5:
      return widen_nibbles<WeightFormat::q5>(unit, out);
    case WeightFormat::q5_least:
      return widen_nibbles<WeightFormat::q5_least>(unit, out);
  }
}

void multiply_floats(const Product& p) {
  const int64_t units = p.matrix.units();
  const int64_t stretch = p.matrix.format == WeightFormat::f32 ? units : kStretch;
  int64_t panels = panels_at_once(p.rows);
  for (int64_t panel = p.first; panel < p.last; panel += panels) {
    if (panel + panels > p.last) panels = 1;
    for (int64_t first = 0; first < units; first += stretch)
      multiply_panels(stretch_of(p, panel, panels, first, smaller(units, first + stretch)), panels, p.rows);
  }
}

WINDOWTAX_END_LEVEL
