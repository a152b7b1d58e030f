// The three stages of a batch, interleaved: scores of the next key block, weights of this one, outputs of the batch
// before.
//
// Tile work goes in strips: two row tiles by one column tile, over all steps of the inner dimension, in two of the sum
// registers, strips taking them in turn. A strip's sums are stored within the next strip, because a store right behind
// its products waits for them and holds up what follows (measured: 185 cycles instead of 139 for eight products and
// four stores). Rows are weighed after every step, so that tiles and vectors overlap (measured: 660 cycles per 32 x 32
// unit of 64-wide heads, 880 one stage after the other, 288 for the products alone; without the tile loads 314, so
// loads of keys and values from the second-level cache, and their mixing with stores, are what limits it).

#pragma once

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

enum class Strip { scores, values, ones };

struct Scoring {
  const uint16_t* queries;
  const uint8_t* keys;
  float* scores;  // [2 halves][32][16]; null: nothing to score
};

struct Mixing {
  const uint16_t* weights;
  const KeyBlock* blocks;
  int64_t count;  // of blocks; 0: nothing to mix
  float* outputs;
  int64_t begin, end;  // columns
};

Scoring scoring_of(const Work& w, int64_t unit, int64_t block, float* scores) {
  return {w.queries + unit * kUnitRows * w.k_pad, w.blocks[block].keys, scores};
}

Mixing mixing_of(const Work& w, const Batch& batch, int64_t parity) {
  return {w.weights + parity * kBatchBlocks * kUnitFloats, w.blocks + batch.block, batch.count,
          w.outputs + batch.unit * kUnitRows * w.columns * 16, 0, w.columns};
}

Weighing weighing_of(const Work& w, const Batch& batch, int64_t nth, const float* scores, int64_t parity) {
  const int64_t row = batch.unit * kUnitRows;
  return {scores, w.weights + (parity * kBatchBlocks + nth) * kUnitFloats, w.base + row, w.shifted + row,
          w.low + row, w.high + row, static_cast<int32_t>((batch.block + nth) * kBlockTokens)};
}

// Sums in registers that are not stored yet: where to, and which two.
struct Unstored {
  float* to;
  int64_t set;
};

template <int kSet>
inline __attribute__((always_inline)) void store_sums(Unstored& unstored) {
  sum_store<kSet, 0>(unstored.to);
  sum_store<kSet, 1>(unstored.to + kTileFloats);
  unstored.to = nullptr;
}

void store_rest(Unstored& unstored) {
  if (unstored.to) unstored.set ? store_sums<2>(unstored) : store_sums<0>(unstored);
}

// Where the columns of a strip's steps are: `keys` + 1024 per step, or `channel_bytes` into the values of blocks[step].
struct Columns {
  const uint8_t* keys;
  const KeyBlock* blocks;
  int64_t channel_bytes;
};

// One strip; `beside` is called after every step with other work.
template <int kSet, Strip kStrip, typename Beside>
inline __attribute__((always_inline)) void run_strip(const uint16_t* row_tiles, const Columns& from, int64_t steps,
                                                     float* to, Unstored& unstored, Beside beside) {
  const uint8_t* rows = reinterpret_cast<const uint8_t*>(row_tiles);
  kStrip == Strip::scores ? sums_zero<kSet>() : sums_load<kSet>(to, kTileFloats);
  const int64_t store_after = steps > 1 ? 1 : 0;
  for (int64_t i = 0; i < steps; ++i, rows += 2048) {
    if constexpr (kStrip == Strip::scores) {
      sums_add<kSet, false>(rows, from.keys + i * 1024, 64);
    } else if constexpr (kStrip == Strip::values) {
      sums_add<kSet, false>(rows, from.blocks[i].values + from.channel_bytes, from.blocks[i].value_stride);
    } else {
      sums_add<kSet, true>(rows, nullptr, 64);
    }
    beside();
    if (i == store_after && unstored.to) store_sums<2 - kSet>(unstored);
  }
  unstored = {to, kSet};
}

// The next strip, in the registers whose turn it is.
template <Strip kStrip, typename Beside>
inline __attribute__((always_inline)) void run_next(const uint16_t* row_tiles, const Columns& from, int64_t steps,
                                                    float* to, Unstored& unstored, Beside beside) {
  if (unstored.set) {
    run_strip<0, kStrip>(row_tiles, from, steps, to, unstored, beside);
  } else {
    run_strip<2, kStrip>(row_tiles, from, steps, to, unstored, beside);
  }
}

template <typename Beside>
inline __attribute__((always_inline)) void run_scores(const Work& w, const Scoring& s, Unstored& unstored,
                                                      Beside beside) {
  const int64_t steps = w.k_pad / 32;
  const Columns low = {s.keys, nullptr, 0}, high = {s.keys + w.k_pad * 32, nullptr, 0};
  run_next<Strip::scores>(s.queries, low, steps, s.scores, unstored, beside);
  run_next<Strip::scores>(s.queries, high, steps, s.scores + 2 * kTileFloats, unstored, beside);
}

template <typename Beside>
inline __attribute__((always_inline)) void run_outputs(const Work& w, const Mixing& m, Unstored& unstored,
                                                       Beside beside) {
  for (int64_t c = m.begin; c < lesser(m.end, w.columns - 1); ++c) {
    const Columns from = {nullptr, m.blocks, c * 64};
    run_next<Strip::values>(m.weights, from, m.count, m.outputs + 2 * c * kTileFloats, unstored, beside);
  }
  if (m.begin < m.end && m.end == w.columns) {
    float* const sums = m.outputs + 2 * (m.end - 1) * kTileFloats;
    run_next<Strip::ones>(m.weights, {nullptr, nullptr, 0}, m.count, sums, unstored, beside);
  }
}

// The three at once. kRows rows are weighed after each step, a constant, because a loop whose length changes from step
// to step is mispredicted, and that costs as much as the step. Returns the bits for `passes`.
template <bool kCut, int64_t kRows>
__attribute__((noinline)) __m512i run_stages(const Work& w, const Scoring& s, const Weighing& weighing, const Mixing& m,
                                             Unstored& left) {
  int64_t row = 0;
  __m512i peak = _mm512_setzero_si512();
  Unstored unstored = left;
  const Weighing local = weighing;
  const auto beside = [&]() __attribute__((always_inline)) {
    if (row == kUnitRows) return;
    peak = weigh_rows<kCut>(local, row, row + kRows, peak);
    row += kRows;
  };
  if (s.scores) run_scores(w, s, unstored, beside);
  run_outputs(w, m, unstored, beside);
  while (row < kUnitRows) beside();
  if (m.begin == m.end) store_rest(unstored);  // no later strip has stored the scores that come next
  left = unstored;
  return peak;
}

// How many rows per step, for the steps that a unit has on average.
template <bool kCut>
__m512i run_stages(const Work& w, const Scoring& s, const Weighing& weighing, const Mixing& m, Unstored& left) {
  const int64_t steps = 2 * (w.k_pad / 32) + w.columns;
  if (steps >= 32) return run_stages<kCut, 1>(w, s, weighing, m, left);
  if (steps >= 16) return run_stages<kCut, 2>(w, s, weighing, m, left);
  return run_stages<kCut, 4>(w, s, weighing, m, left);
}

}  // namespace
WINDOWTAX_END_LEVEL

#endif
