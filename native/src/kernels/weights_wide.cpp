// Products of few rows with bf16 weights and AVX-512: every unit is streamed once from memory, widened in registers,
// and multiplied in fp32, so that the activations keep all their bits.

#include "kernels/weights.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AVX512F__)

namespace {

template <int Rows>
void wide_panel(const uint8_t* unit, int64_t units, const float* x, int64_t stride, __m512 (&sums)[Rows]) {
  const __m512i high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  __m512 odd[Rows];
  for (int row = 0; row < Rows; ++row) sums[row] = odd[row] = _mm512_setzero_ps();
  for (int64_t i = 0; i < units; ++i, unit += 1024, x += kGroup) {
    prefetch_ahead(unit, 1024);
#pragma GCC unroll 16
    for (int pair = 0; pair < kColumns / 2; ++pair) {
      const __m512i words = _mm512_loadu_si512(unit + pair * 64);
      const __m512 low = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
      const __m512 high = _mm512_castsi512_ps(_mm512_and_si512(words, high_half));
      for (int row = 0; row < Rows; ++row) {
        const float* from = x + row * stride + 2 * pair;
        sums[row] = _mm512_fmadd_ps(low, _mm512_set1_ps(from[0]), sums[row]);
        odd[row] = _mm512_fmadd_ps(high, _mm512_set1_ps(from[1]), odd[row]);
      }
    }
  }
  for (int row = 0; row < Rows; ++row) sums[row] = _mm512_add_ps(sums[row], odd[row]);
}

template <int Rows>
void store_sums(const Product& p, int64_t panel, int64_t row, const __m512 (&sums)[Rows]) {
  float* out = p.column(panel) + row * p.out_stride;
  const __mmask16 mask = row_mask(p.width(panel, 1));
  for (int i = 0; i < Rows; ++i) _mm512_mask_storeu_ps(out + i * p.out_stride, mask, sums[i]);
}

template <int Rows>
void wide_rows(const Product& p, int64_t panel, int64_t row) {
  const FloatRows x(p.ready, p.matrix.columns);
  __m512 sums[Rows];
  wide_panel<Rows>(p.panel(panel), p.matrix.units(), x.x + row * x.stride, x.stride, sums);
  store_sums<Rows>(p, panel, row, sums);
}

}  // namespace

void multiply_wide_bf16(const Product& p) {
  for (int64_t panel = p.first; panel < p.last; ++panel) {
    int64_t row = 0;
    for (; row + 4 <= p.rows; row += 4) wide_rows<4>(p, panel, row);
    if (p.rows - row == 3) wide_rows<3>(p, panel, row);
    if (p.rows - row == 2) wide_rows<2>(p, panel, row);
    if (p.rows - row == 1) wide_rows<1>(p, panel, row);
  }
}

#else

void multiply_wide_bf16(const Product&) {}  // never chosen at this level

#endif

WINDOWTAX_END_LEVEL
