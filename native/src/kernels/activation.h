// The gates of MLPs: silu, and gelu by tanh.

#pragma once

#include "kernels/exp.h"

WINDOWTAX_BEGIN_LEVEL

// 1 / (1 + exp(-x)), relative error below 4e-7 down to x = -10, and in all below x * 1e-7.
static inline Floats sigmoid_lanes(Floats x) {
#if defined(__AVX512F__)
  // 2^(n + f) with the polynomial of Cephes' exp2f (Moshier 1989), and no division: it would take as long as all else.
  // From -87 down the true value is 0 but for 1e-38.
  const Floats t = _mm512_min_ps(x * -1.44269504088896341f, all_lanes(126.0f));
  const Floats n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = t - n;
  Floats p = f * 1.535336188319500e-4f + 1.339887440266574e-3f;
  p = p * f + 9.618437357674640e-3f;
  p = p * f + 5.550332471162809e-2f;
  p = p * f + 2.402264791363012e-1f;
  p = p * f + 6.931472028550421e-1f;
  p = p * f + 1.0f;
  const Floats sum = 1.0f + _mm512_scalef_ps(p, n), guess = _mm512_rcp14_ps(sum);
  return guess + guess * (1.0f - sum * guess);
#else
  return 1.0f / (1.0f + exp_lanes(-x));
#endif
}

// activation: 0 silu, 1 gelu: 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
static inline Floats activated_lanes(int activation, Floats x) {
  return x * sigmoid_lanes(activation == 0 ? x : 1.5957691216057308f * (x + 0.044715f * x * x * x));
}

WINDOWTAX_END_LEVEL
