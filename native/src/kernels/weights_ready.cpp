// Activations in the forms that the products read.

#include "kernels/weights.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

void ready_floats(const float* x, int64_t stride, int64_t rows, int64_t columns, void* ready) {
  const int64_t padded = units_of(columns) * kGroup;
  float* out = static_cast<float*>(ready);
  for (int64_t row = 0; row < rows; ++row, out += padded) {
    memcpy(out, x + row * stride, sizeof(float) * columns);
    memset(out + columns, 0, sizeof(float) * (padded - columns));
  }
}

// The 32 numbers from `first` on of a row; past the columns, and in rows past the last, zero. `spare` holds 32 numbers.
const float* group_of(const float* row, int64_t columns, int64_t first, float* spare) {
  if (row && first + kGroup <= columns) return row + first;
  memset(spare, 0, sizeof(float) * kGroup);
  if (row) memcpy(spare, row + first, sizeof(float) * (columns - first));
  return spare;
}

// Returns the scale and writes codes and their sum.
float quantise_group(const float* x, int8_t* codes, int32_t* sum) {
  float greatest = 0.0f;
#if defined(__AVX512F__)
  const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
  greatest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
  const __m512 inverse = _mm512_set1_ps(greatest > 0.0f ? 127.0f / greatest : 0.0f);
  const __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
  const __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtsepi32_epi8(low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16), _mm512_cvtsepi32_epi8(high));
  *sum = _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
#else
  for (int k = 0; k < kColumns; ++k) {
    const float magnitude = float_of(bits_of(x[k]) & 0x7fffffffu);
    greatest = magnitude > greatest ? magnitude : greatest;
  }
  const float inverse = greatest > 0.0f ? 127.0f / greatest : 0.0f;
  int32_t total = 0;
  for (int k = 0; k < kColumns; ++k) {
    const int32_t code = static_cast<int32_t>(round_even(x[k] * inverse));
    codes[k] = static_cast<int8_t>(code);
    total += code;
  }
  *sum = total;
#endif
  return greatest / 127.0f;
}

void ready_bytes_rows(WeightFormat format, const float* x, int64_t stride, int64_t rows, int64_t columns, void* ready) {
  const ByteRows out(ready, rows, columns);
  float spare[kGroup];
  for (int64_t row = 0; row < out.tiles * out.height; ++row) {
    const float* from = row < rows ? x + row * stride : nullptr;
    int64_t place = row / out.height * out.units * out.height + row % out.height;
    for (int64_t unit = 0; unit < out.units; ++unit, place += out.height) {
      int32_t sum;
      const float* group = group_of(from, columns, unit * kGroup, spare);
      const float scale = quantise_group(group, out.codes + place * kGroup, &sum);
      out.scale[place] = scale;
      if (has_least(format)) {
        static_cast<float*>(out.sum)[place] = scale * static_cast<float>(sum);
      } else {
        static_cast<int32_t*>(out.sum)[place] = -128 * sum;
      }
    }
  }
}

void ready_bf16(const float* x, int64_t stride, int64_t rows, int64_t columns, void* ready) {
  const Bf16Rows out(ready, rows, columns);
  float spare[kGroup];
  for (int64_t row = 0; row < out.tiles * out.height; ++row) {
    const float* from = row < rows ? x + row * stride : nullptr;
    uint16_t* to = out.x + (row / out.height * out.units * out.height + row % out.height) * kGroup;
    for (int64_t unit = 0; unit < out.units; ++unit, to += out.height * kGroup) {
      const float* group = group_of(from, columns, unit * kGroup, spare);
#if defined(__AVX512BF16__)
      const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(group + 16), _mm512_loadu_ps(group));
      memcpy(to, &both, sizeof both);
#else
      for (int k = 0; k < kColumns; ++k) to[k] = to_bf16(group[k]);
#endif
    }
  }
}

}  // namespace

int64_t ready_bytes(WeightFormat format, int64_t rows, int64_t columns) {
  switch (way_of(format, rows)) {
    case Way::floats:
    case Way::wide_bf16:
      return rows * units_of(columns) * kGroup * static_cast<int64_t>(sizeof(float));
    case Way::bytes:
    case Way::byte_tiles:
      return ByteRows(nullptr, rows, columns).bytes();
    case Way::bf16_tiles:
      return Bf16Rows(nullptr, rows, columns).bytes();
  }
  return 0;
}

void make_ready(WeightFormat format, const float* x, int64_t stride, int64_t rows, int64_t columns, void* ready) {
  if (rows <= 0) return;
  switch (way_of(format, rows)) {
    case Way::floats:
    case Way::wide_bf16:
      return ready_floats(x, stride, rows, columns, ready);
    case Way::bytes:
    case Way::byte_tiles:
      return ready_bytes_rows(format, x, stride, rows, columns, ready);
    case Way::bf16_tiles:
      return ready_bf16(x, stride, rows, columns, ready);
  }
}

WINDOWTAX_END_LEVEL
