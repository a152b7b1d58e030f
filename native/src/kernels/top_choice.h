// The choice of the best of many scores (see top_blocks.cpp).

#pragma once

#include "kernels/lanes.h"

WINDOWTAX_BEGIN_LEVEL
namespace {

constexpr int64_t kCandidates = 4096;  // scores among which the choice is made on the stack
constexpr int64_t kGroups = 256;       // of scores, whose greatest ones say what is worth a look

// Integers in the order of the floats; -0 counts as 0.
inline Ints order_of(Floats x) {
  const Ints bits = (Ints)(x + 0.0f);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

inline Ints load_order(const float* scores, int64_t count) { return order_of((Floats)load_first(scores, count)); }

// Which keys are above `limit` (kAbove) or not above it, a bit per lane.
template <bool kAbove>
inline uint32_t lanes_above(Ints keys, int32_t limit, int64_t count) {
  const uint32_t existing = (1u << (count < kLanes ? count : kLanes)) - 1;
#if defined(__AVX512F__)
  const uint32_t above = _mm512_cmpgt_epi32_mask((__m512i)keys, _mm512_set1_epi32(limit));
#else
  uint32_t above = 0;
  for (int64_t i = 0; i < kLanes; ++i) above |= uint32_t(keys[i] > limit) << i;
#endif
  return (kAbove ? above : ~above) & existing;
}

// Writes the lanes of `values` whose bit is set to `out`; returns how many. kRoom: a whole vector may be written.
template <bool kRoom>
inline int64_t compress(Ints values, uint32_t bits, int32_t* out) {
#if defined(__AVX512F__)
  if (kRoom) {
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(__mmask16(bits), (__m512i)values));
  } else {
    _mm512_mask_compressstoreu_epi32(out, __mmask16(bits), (__m512i)values);
  }
#else
  int32_t* to = out;
  for (int64_t i = 0; i < kLanes; ++i) {
    if (bits >> i & 1) *to++ = values[i];
  }
#endif
  return __builtin_popcount(bits);
}

inline Ints places_from(int64_t first) {
  Ints places;
  for (int64_t lane = 0; lane < kLanes; ++lane) places[lane] = int32_t(lane);
  return places + int32_t(first);
}

struct Bounds {
  int32_t least, greatest;
};

Bounds bounds_of(const int32_t* keys, int64_t count) {
  Ints least = Ints{} + keys[0], greatest = least;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Ints some = (Ints)load_first(keys + i, count - i);
    const Ints key = places_from(i) < int32_t(count) ? some : least;
    least = key < least ? key : least;
    greatest = key > greatest ? key : greatest;
  }
#if defined(__AVX512F__)
  return {_mm512_reduce_min_epi32((__m512i)least), _mm512_reduce_max_epi32((__m512i)greatest)};
#else
  Bounds bounds = {least[0], greatest[0]};
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    bounds.least = least[lane] < bounds.least ? least[lane] : bounds.least;
    bounds.greatest = greatest[lane] > bounds.greatest ? greatest[lane] : bounds.greatest;
  }
  return bounds;
#endif
}

// Moves the keys above the limit, or those not above it, to the front; returns how many. The array has a vector's room
// behind its end.
template <bool kAbove>
int64_t keep(int32_t* keys, int64_t count, int32_t limit) {
  int64_t kept = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Ints key = (Ints)load_first(keys + i, count - i);
    kept += compress<true>(key, lanes_above<kAbove>(key, limit, count - i), keys + kept);
  }
  return kept;
}

int64_t count_above(const float* scores, int64_t count, int32_t limit) {
  int64_t above = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    above += __builtin_popcount(lanes_above<true>(load_order(scores + i, count - i), limit, count - i));
  }
  return above;
}

// The top-th greatest key, 1 <= top <= count. Reorders the keys.
int32_t nth_key(int32_t* keys, int64_t count, int64_t top) {
  for (;;) {
    const Bounds bounds = bounds_of(keys, count);
    if (bounds.least == bounds.greatest) return bounds.least;
    const int32_t middle = int32_t(bounds.least + (int64_t(bounds.greatest) - bounds.least) / 2);
    int64_t above = 0;
    for (int64_t i = 0; i < count; i += kLanes) {
      const Ints key = (Ints)load_first(keys + i, count - i);
      above += __builtin_popcount(lanes_above<true>(key, middle, count - i));
    }
    if (above >= top) {
      count = keep<true>(keys, count, middle);
    } else {
      count = keep<false>(keys, count, middle);
      top -= above;
    }
  }
}

// The top-th greatest score's key: first by bisection over all scores, until few enough are left.
int32_t nth_score(const float* scores, int64_t count, int64_t top) {
  int32_t keys[kCandidates + kLanes];
  int64_t low = int64_t(INT32_MIN) - 1, high = INT32_MAX, above_low = count, above_high = 0;  // it is in (low, high]
  while (above_low - above_high > kCandidates && high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    const int64_t above = count_above(scores, count, int32_t(middle));
    (above >= top ? low : high) = middle;
    (above >= top ? above_low : above_high) = above;
  }
  if (high - low == 1) return int32_t(high);
  int64_t kept = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Ints key = load_order(scores + i, count - i);
    const uint32_t above_all = low < INT32_MIN ? ~0u : lanes_above<true>(key, int32_t(low), kLanes);
    kept += compress<true>(key, lanes_above<false>(key, int32_t(high), count - i) & above_all, keys + kept);
  }
  return nth_key(keys, kept, top - above_high);
}

// A key that at least `top` scores reach and few others: the top-th of the greatest keys of groups of scores. INT32_MIN
// where there are too few groups.
int32_t reached_key(const float* scores, int64_t count, int64_t top) {
  constexpr int64_t kRuns = kGroups / kLanes;
  int32_t greatest[kGroups + kLanes];
  // A group is a lane of some neighbouring vectors. What is behind the last group reaches the key or not.
  const int64_t vectors = count / kLanes, each = (vectors + kRuns - 1) / kRuns;
  const int64_t groups = each ? vectors / each * kLanes : 0;
  if (groups < 2 * top) return INT32_MIN;
  for (int64_t g = 0; g < groups; g += kLanes, scores += each * kLanes) {
    Ints most = order_of(load_floats(scores));
    for (int64_t i = 1; i < each; ++i) {
      const Ints key = order_of(load_floats(scores + i * kLanes));
      most = key > most ? key : most;
    }
    std::memcpy(greatest + g, &most, sizeof most);
  }
  return nth_key(greatest, groups, top);
}

// Scores among which are those that are chosen, with their places.
struct Candidates {
  int64_t count = 0;
  int32_t keys[kCandidates + kLanes], places[kCandidates + kLanes];

  // Those that reach a key. Returns false where they are too many.
  bool take(const float* scores, int64_t all, int32_t least) {
    for (int64_t i = 0; i < all; i += kLanes) {
      const Ints key = load_order(scores + i, all - i);
      const uint32_t reach = least == INT32_MIN ? lanes_above<false>(key, INT32_MAX, all - i)
                                                : lanes_above<true>(key, least - 1, all - i);
      if (count > kCandidates - kLanes) return false;
      compress<true>(places_from(i), reach, places + count);
      count += compress<true>(key, reach, keys + count);
    }
    return true;
  }
  Ints keys_at(int64_t i) const { return (Ints)load_first(keys + i, count - i); }
};

// Places of the keys above a limit, and of the first `ties` equal to it. keys_at(i), places_at(i): of the lanes from i on.
template <typename KeysAt, typename PlacesAt>
int64_t take_above(int64_t count, int32_t limit, int64_t ties, KeysAt keys_at, PlacesAt places_at, int32_t* chosen) {
  int64_t taken = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Ints key = keys_at(i);
    const uint32_t above = lanes_above<true>(key, limit, count - i);
    uint32_t equal = limit == INT32_MIN ? lanes_above<false>(key, limit, count - i)
                                        : lanes_above<true>(key, limit - 1, count - i) & ~above;
    while (__builtin_popcount(equal) > ties) equal &= ~(0x80000000u >> __builtin_clz(equal));
    ties -= __builtin_popcount(equal);
    if (above | equal) taken += compress<false>(places_at(i), above | equal, chosen + taken);
  }
  return taken;
}

int64_t choose_among(const Candidates& some, int64_t top, int32_t* chosen) {
  int32_t keys[kCandidates + kLanes];
  std::memcpy(keys, some.keys, size_t(some.count) * 4);
  const int32_t limit = nth_key(keys, some.count, top);
  int64_t above = 0;
  for (int64_t i = 0; i < some.count; i += kLanes) {
    above += __builtin_popcount(lanes_above<true>(some.keys_at(i), limit, some.count - i));
  }
  return take_above(
      some.count, limit, top - above, [&](int64_t i) { return some.keys_at(i); },
      [&](int64_t i) { return (Ints)load_words(some.places + i); }, chosen);
}

// Most scores are far below those that are chosen: they are looked at twice, and what reaches the key that the best of
// some groups tell is chosen from (64 of 1,024 scores 0.7 us, of 4,096 1.5; bisection over all of them 1.3 and 3.7).
int64_t select_top(const float* scores, int64_t count, int64_t top, int32_t* chosen) {
  if (top > count) top = count;
  if (top <= 0) return 0;
  Candidates some;
  if (some.take(scores, count, reached_key(scores, count, top))) return choose_among(some, top, chosen);
  const int32_t limit = nth_score(scores, count, top);
  return take_above(
      count, limit, top - count_above(scores, count, limit), [&](int64_t i) { return load_order(scores + i, count - i); },
      places_from, chosen);
}

}  // namespace
WINDOWTAX_END_LEVEL
