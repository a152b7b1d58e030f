// Decode attention goes through a run in pieces of a few blocks: scores of the piece's tokens, their softmax against
// the piece's own maximum, the weighted sum of its values. Each step takes the elements of its own side only.

#pragma once

#include "kernels/codes.h"

WINDOWTAX_BEGIN_LEVEL

// Enough that the reductions and the rescaling of a piece weigh little, few enough that a piece stays in the L1 cache.
constexpr int64_t kPieceBlocks = 4;
constexpr int64_t kPieceTokens = kPieceBlocks * kBlockTokens;
constexpr int64_t kRowTokens = kPieceTokens + 32;  // between rows of scores, so that they lie in different cache sets

// The keys and values of one KV head in up to kPieceBlocks blocks. Only tokens begin ... end - 1 count.
struct Piece {
  int64_t blocks, begin, end;
  const uint8_t* k[kPieceBlocks];
  const uint8_t* k_scale[kPieceBlocks];
  const uint8_t* v[kPieceBlocks];
  const uint8_t* v_scale[kPieceBlocks];
  // What to fetch while this block is read: the same of the piece behind (or this one's again, where there is none).
  // Pool ids are random, so that the hardware does not foresee them.
  const uint8_t* next_k[kPieceBlocks];
  const uint8_t* next_k_scale[kPieceBlocks];
  const uint8_t* next_v[kPieceBlocks];
  const uint8_t* next_v_scale[kPieceBlocks];
  int64_t tail;  // which block's keys are bf16, from the tail of i4_channel; -1: none

  int64_t tokens() const { return blocks * kBlockTokens; }
  bool partial() const { return begin > 0 || end < tokens(); }
};

// Asks for cache lines ahead of their use, into the L2 cache. They must be spread over the work: a burst of more than
// the core has fill buffers stops it.
inline void fetch(const uint8_t* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 1);
}

// Scratch of one call. Rows of scores are kRowTokens apart; [G] are padded to whole vectors.
struct Work {
  float* scores;      // [G, kRowTokens]: scores, then weights
  float* v_scales;    // [kPieceTokens]: the values' scales, 0 where a token does not count
  float* v_middles;   // [kPieceTokens]: of i4, 0 where a token does not count
  float* offsets;     // [G]: the weighted sum of the piece's middles, which every channel gets
  float* old_factor;  // [G]: what the state's sums are multiplied by
  float* new_factor;  // [G]: what the piece's sums are multiplied by
  float* m;           // [G]: the state's greatest score, and
  float* l;           // [G]: its sum of weights, while the run lasts
  float* high;        // [G]: greatest score of the piece
  float* sum;         // [G]: sum of its weights
  float* folded;      // [G, k_dim] queries times channel scales, then [G] their products with the least values
  uint8_t* clean;     // 2 blocks of values with zeros for tokens that do not count
  uint8_t* tiles;     // what the tile kernels need, see decode_tiles.h
};

// scores [G, 32 tokens] of one block, kRowTokens apart.
void score_lanes(Element element, const uint8_t* keys, const uint8_t* scales, int64_t dim, const float* q,
                 int64_t group, float* folded, float* scores);

// o = o * old_factor + (weights . values) * new_factor, over the tokens of the piece.
void weigh_lanes(Element element, const Piece& piece, int64_t dim, int64_t group, const Work& work, float* o);

#if defined(__AMX_TILE__)
// The same two steps through AMX tiles, for the elements and head sizes that they take. Queries are made ready once per
// run, in work.tiles.
int64_t tiles_bytes(int64_t k_dim, int64_t v_dim, int64_t group);
bool tiles_take_keys(Element element, int64_t dim);
bool tiles_take_values(Element element, int64_t dim);
void begin_tiles(int64_t group);  // loads the tile configuration; end_tiles gives the tiles back
void end_tiles();
void ready_tiles(const KvView& view, const float* q, int64_t group, const Work& work);
void score_tiles(const KvView& view, const Piece& piece, const float* q, int64_t group, const Work& work);
void weigh_tiles(const KvView& view, const Piece& piece, int64_t group, const Work& work, float* o);
#endif

WINDOWTAX_END_LEVEL
