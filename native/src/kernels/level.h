// Included by every kernel source first. The sources are compiled once per level (see cmake/levels.cmake), each time in
// the namespace windowtax::<level>. Keep the standard library's templates out of them: the linker would keep one level's
// copy for all. What a level may use, ask the compiler's own macros (__AVX2__, __AVX512F__, __AMX_TILE__,
// __ARM_FEATURE_DOTPROD).

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"

#ifndef WINDOWTAX_LEVEL
#error "kernel sources are compiled through cmake/levels.cmake"
#endif

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define WINDOWTAX_BEGIN_LEVEL \
  namespace windowtax {       \
  namespace WINDOWTAX_LEVEL {
#define WINDOWTAX_END_LEVEL \
  }                         \
  }
