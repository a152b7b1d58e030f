// exp and tanh without libm, whose calls would spill every vector register of a hot loop.

#pragma once

#include "kernels/lanes.h"

WINDOWTAX_BEGIN_LEVEL

// exp(x), relative error below 2e-7 where the result is normal; exactly 0 from x = -150 down (so for -infinity),
// infinity from 89 up.
// 2^n * p(r) with r = x - n ln 2 in +-ln(2)/2; the polynomial is that of Cephes' expf (Moshier 1989).
static inline Floats exp_lanes(Floats x) {
  x = x < -150.0f ? all_lanes(-150.0f) : x;
  x = x > 150.0f ? all_lanes(150.0f) : x;
#if defined(__AVX512F__)
  const Floats n = _mm512_roundscale_ps(x * 1.44269504088896341f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const Floats shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the integer
  const Floats n = shifted - 12582912.0f;
#endif
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + r + 1.0f;
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  // Two factors, because 2^n alone leaves the range of a float's exponent before the product does.
  const Ints power = __builtin_convertvector(n, Ints), low = power >> 1, high = power - low;
  return p * (Floats)((low + 127) << 23) * (Floats)((high + 127) << 23);
#endif
}

// exp(x) for x that is not above 0, in fewer instructions; relative error below 2e-7 + 1e-7 |x|, exactly 0 from x = -87.4
// down. 2^n * p(r) with n + r = x / ln 2 and r in +-1/2; p is 1 at 0 and fits 2^r to 1.6e-7. Instructions of integers
// where they can be: floating ones have one port instead of two while tiles are in use (see decode_tiles.h).
static inline Floats exp_falling(Floats x) {
#if defined(__AVX512F__)
  const Floats whole = all_lanes(12582912.0f);  // 1.5 * 2^23: a sum's low bits are the nearest integer
  const Floats shifted = x * 1.44269504088896341f + whole, r = x * 1.44269504088896341f - (shifted - whole);
  Floats p = r * 1.326472615e-03f + 9.671512991e-03f;
  p = p * r + 5.550733581e-02f;
  p = p * r + 2.402224243e-01f;
  p = p * r + 6.931470037e-01f;
  p = p * r + 1.0f;
  const __mmask16 normal = _mm512_cmp_ps_mask(x, all_lanes(-87.3f), _CMP_NLT_UQ);  // so that NaN stays NaN
  return (Floats)_mm512_maskz_add_epi32(normal, (__m512i)p, _mm512_slli_epi32((__m512i)shifted, 23));
#else
  return exp_lanes(x);
#endif
}

// tanh(x), relative error below 3e-7: the polynomial of Cephes' tanhf near 0, where 1 - 2 / (exp(2x) + 1) cancels.
static inline Floats tanh_lanes(Floats x) {
  const Words sign = (Words)x & 0x80000000u;
  const Floats size = (Floats)((Words)x & 0x7fffffffu), square = x * x;
  Floats p = square * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const Floats near = p * square * x + x, far = 1.0f - 2.0f / (exp_lanes(size + size) + 1.0f);
  return size < 0.625f ? near : (Floats)((Words)far | sign);
}

// cap * tanh(x / cap).
static inline Floats softcap_lanes(Floats x, float cap) { return cap * tanh_lanes(x * (1.0f / cap)); }

static inline float exp_one(float x) { return exp_lanes(all_lanes(x))[0]; }

WINDOWTAX_END_LEVEL
