// Prefill attention in float32, for caches of float32 and for processors without AMX: block by block of keys, each made
// floats once for all rows of the tile, with the softmax going on from block to block.

#pragma once

#include "kernels/exp.h"
#include "kernels/prefill_keys.h"

WINDOWTAX_BEGIN_LEVEL
namespace {

constexpr int64_t kKeyVectors = kBlockTokens / kLanes;
// Rows of queries per step of the products: what the registers hold.
constexpr int64_t kExactRows = kLanes == 16 ? 8 : 2;

struct ExactScratch {
  float *keys, *values, *scores, *greatest, *sum;
};

int64_t exact_scratch_bytes(int64_t rows, int64_t k_dim, int64_t v_dim) {
  return 4 * (kBlockTokens * (k_dim + round_up(v_dim, kLanes)) + (kBlockTokens + 2) * rows);
}

ExactScratch exact_scratch(int64_t rows, int64_t k_dim, int64_t v_dim, void* scratch) {
  ExactScratch s;
  s.keys = static_cast<float*>(scratch);
  s.values = s.keys + kBlockTokens * k_dim;
  s.scores = s.values + kBlockTokens * round_up(v_dim, kLanes);
  s.greatest = s.scores + kBlockTokens * rows;
  s.sum = s.greatest + rows;
  return s;
}

const float* query_of(const Tile& tile, int64_t row, int64_t k_dim) {
  return tile.q + row / tile.group * tile.token_stride + row % tile.group * k_dim;
}

float* out_of(const Tile& tile, int64_t row, int64_t v_dim) {
  return tile.out + row / tile.group * tile.out_stride + row % tile.group * v_dim;
}

// scores [kRows][32] = queries times keys [k_dim][32].
template <int64_t kRows>
void score_rows(const Tile& tile, int64_t row, int64_t k_dim, const float* keys, float* scores) {
  Floats sum[kRows][kKeyVectors] = {};
  const float* q[kRows];
  for (int64_t r = 0; r < kRows; ++r) q[r] = query_of(tile, row + r, k_dim);
  for (int64_t d = 0; d < k_dim; ++d) {
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; v < kKeyVectors; ++v) {
        sum[r][v] += q[r][d] * load_floats(keys + d * kBlockTokens + v * kLanes);
      }
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kKeyVectors; ++v) store_floats(scores + r * kBlockTokens + v * kLanes, sum[r][v]);
  }
}

// out [kRows][v_dim] += weights [kRows][32] times values [32][stride].
template <int64_t kRows>
void mix_rows(const Tile& tile, int64_t row, int64_t v_dim, const float* values, const float* weights) {
  const int64_t stride = round_up(v_dim, kLanes);
  for (int64_t c = 0; c < v_dim; c += kLanes) {
    Floats sum[kRows] = {};
    for (int64_t t = 0; t < kBlockTokens; ++t) {
      const Floats x = load_floats(values + t * stride + c);
      for (int64_t r = 0; r < kRows; ++r) sum[r] += weights[r * kBlockTokens + t] * x;
    }
    const int64_t count = lesser(kLanes, v_dim - c);
    for (int64_t r = 0; r < kRows; ++r) {
      float* out = out_of(tile, row + r, v_dim) + c;
      Floats old = {};
      std::memcpy(&old, out, count * 4);
      old += sum[r];
      std::memcpy(out, &old, count * 4);
    }
  }
}

// Scores of one row into weights, of keys low ... high - 1 of the block; keeps the row's greatest score and sum, and
// shrinks its output where the greatest grew. The row sees at least one key.
void weigh_row(const Tile& tile, int64_t row, int64_t v_dim, int64_t low, int64_t high, float* scores,
               const ExactScratch& s) {
  Floats greatest = all_lanes(s.greatest[row]);
  for (int64_t t = 0; t < kBlockTokens; t += kLanes) {
    Floats x = load_floats(scores + t);
    if (tile.softcap > 0) x = softcap_lanes(x, tile.softcap);
    for (int64_t lane = 0; lane < kLanes; ++lane) x[lane] = t + lane < low || t + lane >= high ? -INFINITY : x[lane];
    store_floats(scores + t, x);
    greatest = greater_lanes(greatest, x);
  }
  const float now = greatest_of_lanes(greatest);
  if (now > s.greatest[row]) {
    const float factor = exp_one(s.greatest[row] - now);
    float* out = out_of(tile, row, v_dim);
    for (int64_t c = 0; c < v_dim; ++c) out[c] *= factor;
    s.sum[row] *= factor;
    s.greatest[row] = now;
  }
  Floats sum = {};
  for (int64_t t = 0; t < kBlockTokens; t += kLanes) {
    const Floats weight = exp_lanes(load_floats(scores + t) - now);
    store_floats(scores + t, weight);
    sum += weight;
  }
  s.sum[row] += sum_of_lanes(sum);
}

template <int64_t kRows>
void exact_rows(const Tile& tile, const TilePart& part, int64_t i, int64_t row, const ExactScratch& s) {
  const int64_t k_dim = part.view->k_dim, v_dim = part.view->v_dim, first = part.first + i * kBlockTokens;
  float* scores = s.scores + row * kBlockTokens;
  score_rows<kRows>(tile, row, k_dim, s.keys, scores);
  for (int64_t r = 0; r < kRows; ++r) {
    const Span span = visible(part, tile.start + (row + r) / tile.group);
    const int64_t low = greater(span.low - first, 0), high = lesser(span.high - first, kBlockTokens);
    if (low < high) {
      weigh_row(tile, row + r, v_dim, low, high, scores + r * kBlockTokens, s);
    } else {
      std::memset(scores + r * kBlockTokens, 0, kBlockTokens * 4);
    }
  }
  mix_rows<kRows>(tile, row, v_dim, s.values, scores);
}

// The rows of the tile that see something of block i: first ... end - 1.
void exact_block(const Tile& tile, const TilePart& part, int64_t i, const ExactScratch& s) {
  const int64_t first = part.first + i * kBlockTokens;
  int64_t begin = 0, end = tile.tokens;
  while (begin < end && visible(part, tile.start + begin).high <= first) ++begin;
  while (end > begin && visible(part, tile.start + end - 1).low >= first + kBlockTokens) --end;
  int64_t row = begin * tile.group;
  for (; row + kExactRows <= end * tile.group; row += kExactRows) exact_rows<kExactRows>(tile, part, i, row, s);
  for (; row < end * tile.group; ++row) exact_rows<1>(tile, part, i, row, s);
}

void finish_rows(const Tile& tile, int64_t v_dim, const ExactScratch& s) {
  for (int64_t row = 0; row < tile.tokens * tile.group; ++row) {
    float sum = s.sum[row];
    if (tile.sink_logits) sum += exp_one(tile.sink_logits[row % tile.group] - s.greatest[row]);
    float* out = out_of(tile, row, v_dim);
    const float factor = s.sum[row] > 0 ? 1.0f / sum : 0.0f;
    for (int64_t c = 0; c < v_dim; ++c) out[c] *= factor;
  }
}

void attend_exact(const Tile& tile, void* scratch) {
  const KvView& view = *tile.parts[0].view;
  const int64_t rows = tile.tokens * tile.group, stride = round_up(view.v_dim, kLanes);
  const ExactScratch s = exact_scratch(rows, view.k_dim, view.v_dim, scratch);
  for (int64_t row = 0; row < rows; ++row) {
    s.greatest[row] = -INFINITY;
    s.sum[row] = 0;
    std::memset(out_of(tile, row, view.v_dim), 0, view.v_dim * 4);
  }
  for (int64_t p = 0; p < tile.num_parts; ++p) {
    const TilePart& part = tile.parts[p];
    const Span span = tile_span(tile, part);
    if (span.high <= span.low) continue;
    for (int64_t i = (span.low - part.first) / kBlockTokens; part.first + i * kBlockTokens < span.high; ++i) {
      float_keys(part, i, tile.head, s.keys);
      float_values(part, i, tile.head, stride, s.values);
      clean_keys(part, span, i, s.keys);
      clean_values(part, span, i, stride, s.values);
      exact_block(tile, part, i, s);
    }
  }
  finish_rows(tile, view.v_dim, s);
}

}  // namespace
WINDOWTAX_END_LEVEL
