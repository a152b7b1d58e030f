// Quest (Tang et al. 2024): bounds on the scores of whole blocks from their summaries, and the choice of the best.

#include "kernels/codes.h"
#include "kernels/parts.h"
#include "kernels/top_tiles.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

constexpr int64_t kCandidates = 4096;  // scores among which the choice is made on the stack

#if defined(__AMX_TILE__)

int64_t score_scratch(int64_t k_dim, int64_t heads, int64_t group) { return bound_tiles_bytes(k_dim, heads, group); }

void score_blocks(const Plane& minimum, const Plane& maximum, const HeadSpan& heads, int64_t k_dim, const float* q,
                  const int32_t* ids, int64_t count, float* scores, int64_t stride, void* scratch) {
  const Summaries of{minimum, maximum, ids, count, heads.first * 2 * k_dim, 2 * k_dim};
  score_blocks_in_tiles(of, heads, k_dim, q, scores, stride, scratch);
}

#else

constexpr int64_t kHeads = 4;  // query heads whose sums are in registers at a time
constexpr int64_t kWays = 4;   // places at which blocks are scored in turn
constexpr int64_t kAhead = 4;  // blocks that are fetched ahead in each; their ids are random in the pool

// A query split for the bound: max(q min, q max) = positive part * max + negative part * min. Per head 4 rows of
// `pairs` numbers: positive even channels, positive odd, negative even, negative odd; zero beyond k_dim.
struct Split {
  const float* rows;
  int64_t pairs;  // k_dim / 2, rounded up to whole vectors

  const float* row(int64_t head, int64_t kind) const { return rows + (head * 4 + kind) * pairs; }
};

int64_t padded_pairs(int64_t k_dim) { return (k_dim / 2 + kLanes - 1) / kLanes * kLanes; }

int64_t score_scratch(int64_t k_dim, int64_t heads, int64_t group) {
  return 64 + heads * group * 4 * padded_pairs(k_dim) * 4;
}

Split split_queries(const float* q, int64_t group, int64_t k_dim, void* scratch) {
  float* rows = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(scratch) + 63) / 64 * 64);
  const int64_t pairs = padded_pairs(k_dim);
  for (int64_t g = 0; g < group; ++g) {
    for (int64_t kind = 0; kind < 4; ++kind) {
      float* row = rows + (g * 4 + kind) * pairs;
      for (int64_t i = 0; i < pairs; ++i) {
        const float x = 2 * i < k_dim ? q[g * k_dim + 2 * i + kind % 2] : 0.0f;
        row[i] = (x > 0) == (kind < 2) ? x : 0.0f;
      }
    }
  }
  return {rows, pairs};
}

// The greatest of the sums of N vectors' lanes.
template <int64_t N>
inline float greatest_sum(const Floats* sums) {
#if defined(__AVX512F__)
  static_assert(N <= 4);
  // Four sums at once: lanes of four vectors are brought together by two steps of interleaving and adding.
  const __m512 a = sums[0], b = sums[1 % N], c = sums[2 % N], d = sums[3 % N];
  const __m512 ab = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
  const __m512 cd = _mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d);
  const __m512 all = (__m512)_mm512_unpacklo_pd((__m512d)ab, (__m512d)cd) +
                     (__m512)_mm512_unpackhi_pd((__m512d)ab, (__m512d)cd);
  const __m256 half = _mm512_castps512_ps256(all) + _mm512_extractf32x8_ps(all, 1);
  __m128 four = _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1);
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
#else
  float greatest = -INFINITY;
  for (int64_t n = 0; n < N; ++n) {
    const float sum = sum_of_lanes(sums[n]);
    greatest = sum > greatest ? sum : greatest;
  }
  return greatest;
#endif
}

// The greatest bound over N heads. queries: their rows of the split.
template <int64_t N>
inline float bound_of(const uint8_t* low, const uint8_t* high, int64_t all_pairs, const float* queries,
                      int64_t pairs) {
  Floats sums[N] = {}, more[N] = {};
  for (int64_t i = 0; i < all_pairs; i += kLanes) {
    const Words lows = load_first(low + i * 4, all_pairs - i), highs = load_first(high + i * 4, all_pairs - i);
    const Floats most0 = number_of<Element::bf16>(highs, 0, 0), most1 = number_of<Element::bf16>(highs, 1, 0);
    const Floats least0 = number_of<Element::bf16>(lows, 0, 0), least1 = number_of<Element::bf16>(lows, 1, 0);
    const float* q = queries + i;
    for (int64_t n = 0; n < N; ++n, q += 4 * pairs) {
      sums[n] += most0 * load_floats(q);
      more[n] += most1 * load_floats(q + pairs);
      sums[n] += least0 * load_floats(q + 2 * pairs);
      more[n] += least1 * load_floats(q + 3 * pairs);
    }
  }
  for (int64_t n = 0; n < N; ++n) sums[n] += more[n];
  return greatest_sum<N>(sums);
}

// The greatest bound over all heads of a group. queries: their rows of the split.
inline float bound_of_group(const uint8_t* low, const uint8_t* high, int64_t all_pairs, const float* queries,
                            int64_t pairs, int64_t group) {
  float greatest = -INFINITY;
  for (int64_t g = 0; g < group; g += kHeads) {
    const float* q = queries + g * 4 * pairs;
    const int64_t heads = group - g;
    const float bound = heads >= 4   ? bound_of<4>(low, high, all_pairs, q, pairs)
                        : heads == 3 ? bound_of<3>(low, high, all_pairs, q, pairs)
                        : heads == 2 ? bound_of<2>(low, high, all_pairs, q, pairs)
                                     : bound_of<1>(low, high, all_pairs, q, pairs);
    greatest = bound > greatest ? bound : greatest;
  }
  return greatest;
}

inline void fetch(const uint8_t* row, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
}

// All heads of a block at once, since their summaries lie together; and blocks from kWays places in turn, since the
// hardware's prefetcher runs ahead by itself in each of several pages, but begins anew in every page.
void score_blocks(const Plane& minimum, const Plane& maximum, const HeadSpan& heads, int64_t k_dim, const float* q,
                  const int32_t* ids, int64_t count, float* scores, int64_t stride, void* scratch) {
  const Split split = split_queries(q, heads.rows(), k_dim, scratch);
  const int64_t bytes = 2 * k_dim, offset = heads.first * bytes, each = (count + kWays - 1) / kWays;
  const auto low = [&](int64_t i) { return minimum.base + ids[i] * minimum.block_bytes + offset; };
  const auto high = [&](int64_t i) { return maximum.base + ids[i] * maximum.block_bytes + offset; };
  for (int64_t n = 0; n < each * kWays; ++n) {
    const int64_t i = n % kWays * each + n / kWays;
    if (i >= count) continue;
    if (n / kWays + kAhead < each && i + kAhead < count) {
      fetch(low(i + kAhead), heads.count * bytes);
      fetch(high(i + kAhead), heads.count * bytes);
    }
    for (int64_t h = 0; h < heads.count; ++h) {
      scores[h * stride + i] = bound_of_group(low(i) + h * bytes, high(i) + h * bytes, k_dim / 2,
                                              split.row(h * heads.group, 0), split.pairs, heads.group);
    }
  }
}

#endif

// --- the choice -----------------------------------------------------------------------------------------------------

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

struct Bounds {
  int32_t least, greatest;
};

Bounds bounds_of(const int32_t* keys, int64_t count) {
  Ints least = Ints{} + INT32_MAX, greatest = Ints{} + INT32_MIN;
  Bounds bounds = {INT32_MAX, INT32_MIN};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Ints key = (Ints)load_words(keys + i);
    least = key < least ? key : least;
    greatest = key > greatest ? key : greatest;
  }
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    bounds.least = least[lane] < bounds.least ? least[lane] : bounds.least;
    bounds.greatest = greatest[lane] > bounds.greatest ? greatest[lane] : bounds.greatest;
  }
  for (; i < count; ++i) {
    bounds.least = keys[i] < bounds.least ? keys[i] : bounds.least;
    bounds.greatest = keys[i] > bounds.greatest ? keys[i] : bounds.greatest;
  }
  return bounds;
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

int64_t select_top(const float* scores, int64_t count, int64_t top, int32_t* chosen) {
  if (top > count) top = count;
  if (top <= 0) return 0;
  const int32_t limit = nth_score(scores, count, top);
  int64_t ties = top - count_above(scores, count, limit), taken = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Ints key = load_order(scores + i, count - i);
    const uint32_t above = lanes_above<true>(key, limit, count - i);
    uint32_t equal = limit == INT32_MIN ? lanes_above<false>(key, limit, count - i)
                                        : lanes_above<true>(key, limit - 1, count - i) & ~above;
    while (__builtin_popcount(equal) > ties) equal &= ~(0x80000000u >> __builtin_clz(equal));
    ties -= __builtin_popcount(equal);
    if (!(above | equal)) continue;
    Ints index;
    for (int64_t lane = 0; lane < kLanes; ++lane) index[lane] = int32_t(i + lane);
    taken += compress<false>(index, above | equal, chosen + taken);
  }
  return taken;
}

}  // namespace

void add_top_blocks(Kernels& table) {
  table.score_scratch = score_scratch;
  table.score_blocks = score_blocks;
  table.select_top = select_top;
}

WINDOWTAX_END_LEVEL
