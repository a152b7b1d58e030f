// Prefill attention on AMX tiles in bf16.
//
// Rows of queries go in units of 32, keys in blocks of 32, and a batch is a few consecutive blocks against one unit of
// rows. The blocks of one stretch of keys (kStretch) are made bf16 tiles once (where they lie in the pool as bf16 and
// are wholly seen: read in place) and serve every unit of rows. prefill_stages.h has what is done to a block,
// prefill_weights.h its softmax, and prefill_flow.h the order of it all.

#pragma once

#include "kernels/prefill_keys.h"
#include "kernels/prefill_tiles.h"
#include "kernels/prefill_weights.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

constexpr int64_t kStretch = 32;   // key blocks
constexpr int64_t kBatchBlocks = 4;  // of a batch
constexpr int64_t kTileFloats = 256, kUnitFloats = kUnitRows * kBlockTokens;

struct Batch {
  int32_t unit;   // of rows
  int32_t block;  // the first, within the stretch
  int32_t count;  // of blocks
  int32_t cut;    // some row does not see some key
};

// What the next stretch will read of the pool, brought nearer while this one is worked on, kAheadBytes or some times as
// many at a time. It may ask for what lies behind the keys or the values of a block.
constexpr int64_t kAheadBytes = 128;
struct Ahead {
  const TilePart* part;
  int64_t block, end;  // of the part
  int64_t head, at;    // at: the next byte of the block, keys before values
  int64_t key_bytes, value_bytes;
  int64_t bytes;       // per unit of rows and block
};

struct KeyBlock {
  const uint8_t* keys;    // [2 halves][k_pad / 2][16][2]
  const uint8_t* values;  // [16 pairs][value_stride]
  int64_t value_stride;   // bytes
};

// Everything of one tile, in its scratch.
struct Work {
  const Tile* tile;
  int64_t rows, units, k_dim, v_dim, k_pad, v_pad, columns;  // columns: tiles of 16, and one of sums
  uint16_t* queries;   // [units][k_pad / 32][32][32]
  float* outputs;      // [units][columns][32][16]; the last column: the sums of the weights
  float *base, *shifted;  // [rows], see Weighing
  float* reference;    // [rows]: the scores behind `base`; -infinity before the first
  int32_t *sees_low, *sees_high;  // [rows]: keys seen, in tokens since the part's first
  int32_t *low, *high;  // [rows]: of the stretch's keys, in tokens since its first
  float* scores;       // [2 + kBatchBlocks][kUnitFloats]: two in turn, the others for scores_beside
  uint16_t* weights;   // [2][kBatchBlocks][32][32]
  float* floats;       // one block of keys or values
  uint8_t* converted;  // [kStretch] blocks of keys and values
  KeyBlock* blocks;    // [kStretch]
  Batch* batches;
};

// Takes the scratch apart; with a null scratch, only measures it.
int64_t lay_out(Work& w, int64_t rows, int64_t k_dim, int64_t v_dim, uint8_t* scratch) {
  const int64_t begin = round_up(reinterpret_cast<int64_t>(scratch), 64);
  int64_t at = begin;
  const auto take = [&at](int64_t bytes) {
    const int64_t here = at;
    at += round_up(bytes, 64);
    return here;
  };
  w.rows = rows;
  w.units = round_up(rows, kUnitRows) / kUnitRows;
  w.k_dim = k_dim;
  w.v_dim = v_dim;
  w.k_pad = round_up(k_dim, 32);
  w.v_pad = round_up(v_dim, 16);
  w.columns = w.v_pad / 16 + 1;
  const int64_t padded = w.units * kUnitRows;
  w.queries = reinterpret_cast<uint16_t*>(take(padded * w.k_pad * 2));
  w.outputs = reinterpret_cast<float*>(take(padded * w.columns * 64));
  w.base = reinterpret_cast<float*>(take(padded * 4));
  w.shifted = reinterpret_cast<float*>(take(padded * 4));
  w.reference = reinterpret_cast<float*>(take(padded * 4));
  w.sees_low = reinterpret_cast<int32_t*>(take(padded * 4));
  w.sees_high = reinterpret_cast<int32_t*>(take(padded * 4));
  w.low = reinterpret_cast<int32_t*>(take(padded * 4));
  w.high = reinterpret_cast<int32_t*>(take(padded * 4));
  w.scores = reinterpret_cast<float*>(take((2 + kBatchBlocks) * kUnitFloats * 4));
  w.weights = reinterpret_cast<uint16_t*>(take(2 * kBatchBlocks * kUnitFloats * 2));
  w.floats = reinterpret_cast<float*>(take(kBlockTokens * greater(w.k_pad, w.v_pad) * 4));
  w.converted = reinterpret_cast<uint8_t*>(take(kStretch * kBlockTokens * (w.k_pad + w.v_pad) * 2));
  w.blocks = reinterpret_cast<KeyBlock*>(take(kStretch * sizeof(KeyBlock)));
  w.batches = reinterpret_cast<Batch*>(take(w.units * (kStretch / 2) * sizeof(Batch)));
  return at - begin + 64;
}

int64_t amx_scratch_bytes(int64_t rows, int64_t k_dim, int64_t v_dim) {
  Work w;
  return lay_out(w, rows, k_dim, v_dim, nullptr);
}

// --- queries, keys and values as tiles -------------------------------------------------------------------------------

// Two rows of floats as one row of bf16 pairs.
inline void store_pairs(const float* even, const float* odd, void* to) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(even)));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(odd)));
  _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

// One row of queries as rows of its unit's tiles; zeros where q is null.
inline void put_query(const Work& w, int64_t row, const float* q) {
  uint16_t* to = w.queries + row / kUnitRows * kUnitRows * w.k_pad + row % kUnitRows * 32;
  for (int64_t d = 0; d < w.k_pad; d += 16) {
    const int64_t count = q ? greater(0, lesser(16, w.k_dim - d)) : 0;
    const __m512 x = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), q + d);
    const __m256i codes = (__m256i)_mm512_cvtneps_pbh(x);
    std::memcpy(to + d / 32 * kUnitFloats + d % 32, &codes, sizeof codes);
  }
}

void put_queries(const Work& w) {
  const Tile& tile = *w.tile;
  int64_t row = 0;
  for (int64_t token = 0; token < tile.tokens; ++token) {
    const float* q = tile.q + token * tile.token_stride;
    for (int64_t g = 0; g < tile.group; ++g, q += w.k_dim) put_query(w, row++, q);
  }
  for (; row < w.units * kUnitRows; ++row) put_query(w, row, nullptr);
}

void convert_keys(const Work& w, const TilePart& part, Span span, int64_t i, uint8_t* to) {
  float_keys(part, i, w.tile->head, w.floats);
  clean_keys(part, span, i, w.floats);
  std::memset(w.floats + w.k_dim * kBlockTokens, 0, (w.k_pad - w.k_dim) * kBlockTokens * 4);
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t d = 0; d < w.k_pad; d += 2, to += 64) {
      const float* from = w.floats + d * kBlockTokens + half * kHalf;
      store_pairs(from, from + kBlockTokens, to);
    }
  }
}

void convert_values(const Work& w, const TilePart& part, Span span, int64_t i, uint8_t* to) {
  float_values(part, i, w.tile->head, w.v_pad, w.floats);
  clean_values(part, span, i, w.v_pad, w.floats);
  for (int64_t pair = 0; pair < kBlockTokens / 2; ++pair) {
    for (int64_t c = 0; c < w.v_pad; c += 16, to += 64) {
      const float* from = w.floats + 2 * pair * w.v_pad + c;
      store_pairs(from, from + w.v_pad, to);
    }
  }
}

// Makes block i of the part ready as block `slot` of the stretch.
void put_block(const Work& w, const TilePart& part, Span span, int64_t i, int64_t slot) {
  const KvView& view = *part.view;
  const int64_t first = part.first + i * kBlockTokens, head = w.tile->head;
  const bool whole = first >= span.low && first + kBlockTokens <= span.high;
  uint8_t* const keys = w.converted + slot * kBlockTokens * (w.k_pad + w.v_pad) * 2;
  uint8_t* const values = keys + kBlockTokens * w.k_pad * 2;
  KeyBlock& block = w.blocks[slot];
  block = {keys, values, w.v_pad * 4};
  const uint8_t* const tail = tail_of(part, i, head);
  if (whole && w.k_pad == w.k_dim && tail) {
    block.keys = tail;
  } else if (whole && w.k_pad == w.k_dim && view.k_element == Element::bf16) {
    block.keys = head_of(view.k, part.ids[i], head, element_bytes(Element::bf16, w.k_dim));
  } else {
    convert_keys(w, part, span, i, keys);
  }
  if (whole && w.v_pad == w.v_dim && view.v_element == Element::bf16) {
    block.values = head_of(view.v, part.ids[i], head, element_bytes(Element::bf16, w.v_dim));
  } else {
    convert_values(w, part, span, i, values);
  }
}

}  // namespace
WINDOWTAX_END_LEVEL

#include "kernels/prefill_stages.h"
#include "kernels/prefill_flow.h"

#endif
