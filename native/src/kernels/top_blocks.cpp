// Quest (Tang et al. 2024): bounds on the scores of whole blocks from their summaries, and the choice of the best.

#include "kernels/codes.h"
#include "kernels/parts.h"
#include "kernels/top_choice.h"
#include "kernels/top_tiles.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

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

}  // namespace

void add_top_blocks(Kernels& table) {
  table.score_scratch = score_scratch;
  table.score_blocks = score_blocks;
  table.select_top = select_top;
}

WINDOWTAX_END_LEVEL
