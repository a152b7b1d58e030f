// The three stages of a batch, interleaved: scores of the next key block, weights of this one, outputs of the batch
// before.
//
// Tile work goes in squares: two row tiles by two column tiles, so that a step of four products takes four tile loads.
// A unit of 32 x 32 at heads of 64 has 18 products (288 cycles), 21 loads of tiles, of which the 8 of keys and values
// come from the second-level cache (16 to 20 cycles each, the others 9: 250), and 6.5 stores (each 15 cycles in which
// nothing else is issued); vectors take 160 beside them. With all of it in the second-level cache that is 400, without
// the vectors 370, without stores 350. Products with stores right behind them wait (8 products with 8 loads and 4 stores
// take 147 cycles, 214 with the stores at the end). So half of a square's sums are stored beside its last products, and
// half beside the first of the next square. Queries that stay in registers for two blocks of keys save three loads a unit
// and lose more by stores that wait (measured: 450 for 400). Rows are weighed after every product.

#pragma once

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

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

// Sums in registers 2 and 3 that are not stored yet: where to, or null.
struct Unstored {
  float *second, *third;
};

inline __attribute__((always_inline)) void store_second(Unstored& unstored) {
  if (unstored.second) TILE_STORE(2, unstored.second, 64);
  unstored.second = nullptr;
}

inline __attribute__((always_inline)) void store_third(Unstored& unstored) {
  if (unstored.third) TILE_STORE(3, unstored.third, 64);
  unstored.third = nullptr;
}

void store_rest(Unstored& unstored) {
  store_second(unstored);
  store_third(unstored);
}

alignas(64) constexpr struct Ones {
  uint16_t bf16[512];
  constexpr Ones() : bf16() {
    for (uint16_t& one : bf16) one = 0x3f80;
  }
} kOnes;

// Calls fn(0) ... fn(kCount - 1) with constants.
template <int64_t kValue>
struct Constant {
  constexpr operator int64_t() const { return kValue; }
};
template <int64_t kCount, int64_t kFrom = 0, typename Fn>
inline __attribute__((always_inline)) void unroll(const Fn& fn) {
  if constexpr (kFrom < kCount) {
    fn(Constant<kFrom>());
    unroll<kCount, kFrom + 1>(fn);
  }
}

// The same where kCount is known; otherwise `count` times in a loop.
template <int64_t kCount, typename Fn>
inline __attribute__((always_inline)) void repeat(int64_t count, const Fn& fn) {
  if constexpr (kCount > 0) {
    unroll<kCount>(fn);
  } else {
    for (int64_t i = 0; i < count; ++i) fn(i);
  }
}

// Scores of a unit against a block; sums at `to`, as those of a square always: [2 columns][2 rows] tiles. `beside` is
// called after every product with other work. kSteps: of 32 channels, 0 where it is not known before.
template <int64_t kSteps, typename Beside>
inline __attribute__((always_inline)) void run_scores(const Work& w, const Scoring& s, Unstored& unstored,
                                                      const Beside& beside) {
  const int64_t steps = kSteps ? kSteps : w.k_pad / 32;
  const uint8_t* high_keys = s.keys + steps * 1024;
  repeat<kSteps>(steps, [&](int64_t i) __attribute__((always_inline)) {
    const uint8_t* rows = reinterpret_cast<const uint8_t*>(s.queries) + i * 2048;
    TILE_LOAD(4, rows, 64);
    TILE_LOAD_PAST(6, s.keys + i * 1024, 64);
    if (i == 0) TILE_ZERO(0);
    TILE_PRODUCT(0, 4, 6);
    beside();
    TILE_LOAD_PAST(7, high_keys + i * 1024, 64);
    if (i == 0) TILE_ZERO(1);
    TILE_PRODUCT(1, 4, 7);
    beside();
    TILE_LOAD(5, rows + 1024, 64);
    if (i == 0) {
      store_second(unstored);
      TILE_ZERO(2);
    }
    TILE_PRODUCT(2, 5, 6);
    if (i + 1 == steps) TILE_STORE(0, s.scores, 64);
    beside();
    if (i == 0) {
      store_third(unstored);
      TILE_ZERO(3);
    }
    TILE_PRODUCT(3, 5, 7);
    if (i + 1 == steps) TILE_STORE(1, s.scores + 2 * kTileFloats, 64);
    beside();
  });
  unstored = {s.scores + kTileFloats, s.scores + 3 * kTileFloats};
}

// Two columns of outputs, of which the second may be the sums of weights. kCount: blocks, 0 where it is not known before.
template <int64_t kCount, bool kSums, typename Beside>
inline __attribute__((always_inline)) void run_pair(const Mixing& m, int64_t column, Unstored& unstored,
                                                    const Beside& beside) {
  float* const to = m.outputs + 2 * column * kTileFloats;
  repeat<kCount>(m.count, [&](int64_t i) __attribute__((always_inline)) {
    const uint8_t* rows = reinterpret_cast<const uint8_t*>(m.weights) + i * 2048;
    const uint8_t* values = m.blocks[i].values + column * 64;
    const int64_t stride = m.blocks[i].value_stride, count = kCount ? kCount : m.count;
    TILE_LOAD(4, rows, 64);
    TILE_LOAD_PAST(6, values, stride);
    if (i == 0) TILE_LOAD(0, to, 64);
    TILE_PRODUCT(0, 4, 6);
    beside();
    if constexpr (kSums) TILE_LOAD(7, kOnes.bf16, 64);
    if constexpr (!kSums) TILE_LOAD_PAST(7, values + 64, stride);
    if (i == 0) TILE_LOAD(1, to + 2 * kTileFloats, 64);
    TILE_PRODUCT(1, 4, 7);
    beside();
    TILE_LOAD(5, rows + 1024, 64);
    if (i == 0) {
      store_second(unstored);
      TILE_LOAD(2, to + kTileFloats, 64);
    }
    TILE_PRODUCT(2, 5, 6);
    if (i + 1 == count) TILE_STORE(0, to, 64);
    beside();
    if (i == 0) {
      store_third(unstored);
      TILE_LOAD(3, to + 3 * kTileFloats, 64);
    }
    TILE_PRODUCT(3, 5, 7);
    if (i + 1 == count) TILE_STORE(1, to + 2 * kTileFloats, 64);
    beside();
  });
  unstored = {to + kTileFloats, to + 3 * kTileFloats};
}

// The sums of weights alone.
template <int64_t kCount, typename Beside>
inline __attribute__((always_inline)) void run_sums(const Mixing& m, int64_t column, Unstored& unstored,
                                                    const Beside& beside) {
  float* const to = m.outputs + 2 * column * kTileFloats;
  TILE_LOAD(6, kOnes.bf16, 64);
  TILE_LOAD(0, to, 64);
  repeat<kCount>(m.count, [&](int64_t i) __attribute__((always_inline)) {
    const uint8_t* rows = reinterpret_cast<const uint8_t*>(m.weights) + i * 2048;
    TILE_LOAD(4, rows, 64);
    TILE_PRODUCT(0, 4, 6);
    beside();
    TILE_LOAD(5, rows + 1024, 64);
    if (i == 0) {
      store_second(unstored);
      TILE_LOAD(2, to + kTileFloats, 64);
    }
    TILE_PRODUCT(2, 5, 6);
    if (i == 0) store_third(unstored);
    beside();
  });
  TILE_STORE(0, to, 64);
  unstored = {to + kTileFloats, nullptr};
}

template <typename Beside>
inline __attribute__((always_inline)) void run_outputs(const Work& w, const Mixing& m, Unstored& unstored,
                                                       const Beside& beside) {
  for (int64_t c = m.begin; c < m.end; c += 2) {
    if (c + 2 < w.columns) {
      run_pair<0, false>(m, c, unstored, beside);
    } else if (c + 2 == w.columns) {
      run_pair<0, true>(m, c, unstored, beside);
    } else {
      run_sums<0>(m, c, unstored, beside);
    }
  }
}

// The share of stage `nth` of `of` in the columns, in pairs.
void share_columns(const Work& w, Mixing& m, int64_t nth, int64_t of) {
  const int64_t pairs = (w.columns + 1) / 2;
  m.begin = 2 * (nth * pairs / of);
  m.end = lesser(2 * ((nth + 1) * pairs / of), w.columns);
}

// All stages of a batch of the usual size: heads of 64, kBatchBlocks blocks, as many to mix, every key seen. next: of
// those scores that come behind the batch's first block's. Steps and rows are constants, because loops whose length
// changes from step to step are mispredicted, and that costs as much as a step; and rows are weighed at an even pace over
// all stages, of which the last has a third as many products as the first (measured: 1.1 times as fast as stage by stage).
//
// The order of stages is such that a row's scores are stored before its turn comes. Block 1's are stored by product 12,
// weighed from 18 on; block 2's by 34, from 36 on; block 3's by 52, from 54 on; the next batch's first by product 4 of
// that, and by then 7 rows are weighed. Its buffer is free again before the block after next is stored.
struct UsualBatch {
  Scoring next[kBatchBlocks];
  Weighing weighing;       // of block 0
  const float* scores[2];  // of even and odd blocks
  Mixing mixing;
};

inline bool is_usual(const Work& w) { return w.k_pad == 64 && w.columns == 5; }

template <typename Between>
__attribute__((noinline)) __m512i run_usual(const Work& w, const UsualBatch& batch, Unstored& left,
                                            const Between& between) {
  static_assert(kBatchBlocks == 4);
  constexpr int64_t kRows = kBatchBlocks * kUnitRows, kProducts = kBatchBlocks * 8 + 2 * 16 + 8;
  int64_t row = 0, product = 0;
  __m512i peak = _mm512_setzero_si512();
  Unstored unstored = left;
  Weighing at = batch.weighing;
  const float* const scores[2] = {batch.scores[0], batch.scores[1]};
  uint16_t* const weights = at.weights;
  const auto weigh_until = [&](int64_t until) __attribute__((always_inline)) {
    at.scores = scores[row / kUnitRows % 2];
    at.weights = weights + row / kUnitRows * kUnitFloats;
    const int64_t from = row % kUnitRows;
    peak = weigh_rows<false>(at, from, from + until - row, peak);
    row = until;
  };
  const auto beside = [&]() __attribute__((always_inline)) {
    const int64_t until = kRows * ++product / kProducts, edge = (row / kUnitRows + 1) * kUnitRows;
    if (until > edge) weigh_until(edge);
    weigh_until(until);
  };
  run_scores<2>(w, batch.next[0], unstored, beside);
  run_pair<kBatchBlocks, false>(batch.mixing, 0, unstored, beside);
  between();
  run_scores<2>(w, batch.next[1], unstored, beside);
  run_sums<kBatchBlocks>(batch.mixing, 4, unstored, beside);
  between();
  run_scores<2>(w, batch.next[2], unstored, beside);
  run_pair<kBatchBlocks, false>(batch.mixing, 2, unstored, beside);
  between();
  run_scores<2>(w, batch.next[3], unstored, beside);
  between();
  left = unstored;
  return peak;
}

// One stage of any size: kRows rows after each product. The second half of a unit's scores, from the stage before, may
// still be in registers; it is stored with the third and fourth product, before row 16 is weighed. Returns the bits for
// `passes`.
template <bool kCut, int64_t kRows>
__attribute__((noinline)) __m512i run_stage(const Work& w, const Scoring& s, const Weighing& weighing, const Mixing& m,
                                            Unstored& left) {
  static_assert(4 * kRows <= kUnitRows / 2);
  int64_t row = 0;
  __m512i peak = _mm512_setzero_si512();
  Unstored unstored = left;
  const Weighing local = weighing;
  const auto beside = [&]() __attribute__((always_inline)) {
    if (row == kUnitRows) return;
    peak = weigh_rows<kCut>(local, row, row + kRows, peak);
    row += kRows;
  };
  if (s.scores) {
    run_scores<0>(w, s, unstored, beside);
  } else {
    store_rest(unstored);
  }
  run_outputs(w, m, unstored, beside);
  while (row < kUnitRows) beside();
  left = unstored;
  return peak;
}

template <bool kCut>
__m512i run_stage(const Work& w, const Scoring& s, const Weighing& weighing, const Mixing& m, Unstored& left) {
  const int64_t columns = m.end - m.begin;
  const int64_t products = (s.scores ? w.k_pad / 8 : 0) + 2 * columns * m.count;
  if (products >= 32) return run_stage<kCut, 1>(w, s, weighing, m, left);
  if (products >= 16) return run_stage<kCut, 2>(w, s, weighing, m, left);
  return run_stage<kCut, 4>(w, s, weighing, m, left);
}

}  // namespace
WINDOWTAX_END_LEVEL

#endif
