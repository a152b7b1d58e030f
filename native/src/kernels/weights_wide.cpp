// Products of few rows with bf16 weights and AVX-512: every unit is streamed once from memory, widened in registers,
// and multiplied in fp32, so that the activations keep all their bits.

#include "kernels/weights.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AVX512F__)

namespace {

constexpr int64_t kUnitBytes = 1024;

template <int Rows>
using Sums = __m512[Rows];

template <int Rows>
inline void wide_unit(const uint8_t* unit, int64_t ahead, const float* x, int64_t stride, Sums<Rows>& even,
                      Sums<Rows>& odd) {
  const __m512i high_half = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
#pragma GCC unroll 16
  for (int pair = 0; pair < kColumns / 2; ++pair) {
    prefetch_line(unit + ahead + pair * 64);
    const __m512i words = _mm512_loadu_si512(unit + pair * 64);
    const __m512 low = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    const __m512 high = _mm512_castsi512_ps(_mm512_and_si512(words, high_half));
    for (int row = 0; row < Rows; ++row) {
      const float* from = x + row * stride + 2 * pair;
      even[row] = _mm512_fmadd_ps(low, _mm512_set1_ps(from[0]), even[row]);
      odd[row] = _mm512_fmadd_ps(high, _mm512_set1_ps(from[1]), odd[row]);
    }
  }
}

// Rows row ... times `panel` and, where it is two, the other stream's panel.
template <int Rows, int Panels>
void wide_rows(const Product& p, const Streams& streams, int64_t panel, int64_t row) {
  const FloatRows ready(p.ready, p.matrix.columns);
  const float* x = ready.x + row * ready.stride;
  const uint8_t* unit = streams.base;
  Sums<Rows> even[Panels], odd[Panels];
  for (int i = 0; i < Panels; ++i)
    for (int r = 0; r < Rows; ++r) even[i][r] = odd[i][r] = _mm512_setzero_ps();
  for (int64_t u = 0; u < p.matrix.units(); ++u, unit += kUnitBytes, x += kGroup) {
    const int64_t ahead = streams.ahead(u);
#pragma GCC unroll 2
    for (int i = 0; i < Panels; ++i)
      wide_unit<Rows>(unit + i * streams.apart_bytes, ahead, x, ready.stride, even[i], odd[i]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < Panels; ++i) {
    const int64_t at = panel + i * streams.apart;
    float* const out = p.column(at) + row * p.out_stride;
    const __mmask16 mask = row_mask(p.width(at, 1));
    for (int r = 0; r < Rows; ++r)
      _mm512_mask_storeu_ps(out + r * p.out_stride, mask, _mm512_add_ps(even[i][r], odd[i][r]));
  }
}

template <int Panels>
void wide_panels(const Product& p, int64_t panel, int64_t apart) {
  const Streams streams(p, panel, apart);
  int64_t row = 0;
  for (; row + 4 <= p.rows; row += 4) wide_rows<4, Panels>(p, streams, panel, row);
  if (p.rows - row == 3) wide_rows<3, Panels>(p, streams, panel, row);
  if (p.rows - row == 2) wide_rows<2, Panels>(p, streams, panel, row);
  if (p.rows - row == 1) wide_rows<1, Panels>(p, streams, panel, row);
}

}  // namespace

void multiply_wide_bf16(const Product& p) {
  const int64_t apart = (p.last - p.first) / kWeightStreams;
  for (int64_t panel = p.first; panel < p.first + apart; ++panel) wide_panels<kWeightStreams>(p, panel, apart);
  for (int64_t panel = p.first + apart * kWeightStreams; panel < p.last; ++panel) wide_panels<1>(p, panel, 0);
}

#else

void multiply_wide_bf16(const Product&) {}  // never chosen at this level

#endif

WINDOWTAX_END_LEVEL
