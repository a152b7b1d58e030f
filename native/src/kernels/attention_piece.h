// Decode attention goes through a run in pieces of a few blocks: scores of the piece's tokens for all heads of the span,
// their softmax against the piece's own maximum, the weighted sum of its values. Each step takes the elements of its own
// side only.

#pragma once

#include "kernels/codes.h"

WINDOWTAX_BEGIN_LEVEL

// Enough that the reductions and the rescaling of a piece weigh little, few enough that a piece stays in the L1 cache.
constexpr int64_t kPieceBlocks = 4;
constexpr int64_t kPieceTokens = kPieceBlocks * kBlockTokens;
constexpr int64_t kRowTokens = kPieceTokens + 32;  // between rows of scores, so that they lie in different cache sets

// Calls fn(integral constant) for the number of a piece's blocks, so that its loops have lengths of their own.
template <int64_t N>
struct Blocks {
  static constexpr int64_t value = N;
};
template <typename Fn>
static inline void choose_blocks(int64_t blocks, Fn fn) {
  static_assert(kPieceBlocks == 4);
  if (blocks == 4) return fn(Blocks<4>());
  if (blocks == 3) return fn(Blocks<3>());
  if (blocks == 2) return fn(Blocks<2>());
  return fn(Blocks<1>());
}

// What is fetched into the L2 cache while a piece is computed: the piece behind it. Pool ids are random, so that the
// hardware does not foresee it. A core has few fill buffers: a burst of requests stops it, and while it computes without
// asking, memory stands still. So lines are dealt out at many points of the work, but some neighbours at a time, because
// these let the hardware's own prefetcher help (measured: steps of 256 bytes; of 128 a tenth slower, with every second
// line more). It runs ahead within a page of 4 KiB and begins anew in the next one; so the steps go through the piece's
// blocks in turn, and while it begins in one page it runs in others (a model of this with 23 ns of work for 256 bytes,
// beyond every cache, went at 24 GB/s with one place, 26 with four and 27 with eight).
class Feed {
 public:
  void clear() { count_ = turn_ = bytes_ = 0; }
  void add(const uint8_t* from, int64_t bytes) {
    ways_[count_++] = {from, from + bytes};
    bytes_ += bytes;
  }
  // At how many points `some` will be called.
  void deal(int64_t points) { quads_ = (bytes_ / kQuad + count_ + points) / points; }
  void some() { take(quads_); }
  void rest() { take(bytes_); }  // what `some` has left

 private:
  static constexpr int64_t kQuad = 256;  // four cache lines
  // Keys and values of the piece behind, with their scales, and of a run's first piece its values.
  static constexpr int64_t kMost = 6 * kPieceBlocks;

  struct Way {
    const uint8_t *from, *end;
  };

  void take(int64_t quads) {
    if (count_ == 0) return;
    int64_t turn = turn_;
    do {
      Way& way = ways_[turn];
      const uint8_t* from = way.from;
      __builtin_prefetch(from, 0, 2);
      __builtin_prefetch(from + 64, 0, 2);
      __builtin_prefetch(from + 128, 0, 2);
      __builtin_prefetch(from + 192, 0, 2);
      way.from = from + kQuad;
      if (way.from < way.end) {
        ++turn;
      } else {
        way = ways_[--count_];
        if (count_ == 0) return;
      }
      turn = turn < count_ ? turn : 0;
    } while (--quads > 0);
    turn_ = turn;
  }

  Way ways_[kMost];
  int64_t count_, turn_, bytes_, quads_;
};

// The keys and values of a span's heads in up to kPieceBlocks blocks. Only tokens begin ... end - 1 count. Pointers are
// those of the span's first head, the others follow at their steps.
struct Piece {
  int64_t blocks, begin, end;
  const uint8_t* k[kPieceBlocks];
  const uint8_t* k_scale[kPieceBlocks];
  const uint8_t* v[kPieceBlocks];
  const uint8_t* v_scale[kPieceBlocks];
  int64_t k_step, tail_step, k_scale_step, v_step, v_scale_step;
  int64_t tail;  // which block's keys are bf16, from the tail of i4_channel; -1: none
  Feed* feed;

  int64_t tokens() const { return blocks * kBlockTokens; }
  bool partial() const { return begin > 0 || end < tokens(); }
  const uint8_t* keys(int64_t head, int64_t b) const { return k[b] + head * (b == tail ? tail_step : k_step); }
  const uint8_t* key_scales(int64_t head, int64_t b) const {
    return b == tail ? nullptr : k_scale[b] + head * k_scale_step;
  }
  const uint8_t* values(int64_t head, int64_t b) const { return v[b] + head * v_step; }
  const uint8_t* value_scales(int64_t head, int64_t b) const { return v_scale[b] + head * v_scale_step; }
};

// Scratch of one call. Rows of scores are kRowTokens apart; [rows] are padded to whole vectors, rows being the query
// heads of the span; [G] those of one KV head.
struct Work {
  int64_t heads;      // KV heads of the span
  float* scores;      // [rows, kRowTokens]: scores, then weights
  float* v_scales;    // [heads, kPieceTokens]: the values' scales, 0 where a token does not count
  float* v_middles;   // [heads, kPieceTokens]: of i4, 0 where a token does not count
  float* offsets;     // [rows]: the weighted sum of the piece's middles, which every channel gets
  float* old_factor;  // [rows]: what the state's sums are multiplied by
  float* new_factor;  // [rows]: what the piece's sums are multiplied by
  float* m;           // [rows]: the state's greatest score, and
  float* l;           // [rows]: its sum of weights, while the run lasts
  float* high;        // [rows]: greatest score of the piece
  float* sum;         // [rows]: sum of its weights
  float* folded;      // [G, k_dim] queries times channel scales, then [G] their products with the least values
  uint8_t* clean;     // 2 blocks of the span's values with zeros for tokens that do not count
  uint8_t* tiles;     // what the tile kernels need, see decode_tiles.h

  // The same for a KV head of `group` query heads.
  Work of(int64_t head, int64_t group) const {
    Work work = *this;
    const int64_t row = head * group;
    work.scores += row * kRowTokens;
    work.v_scales += head * kPieceTokens, work.v_middles += head * kPieceTokens;
    work.offsets += row, work.old_factor += row, work.new_factor += row;
    work.m += row, work.l += row, work.high += row, work.sum += row;
    return work;
  }
};

// scores [G, 32 tokens] of one block, kRowTokens apart.
void score_lanes(Element element, const uint8_t* keys, const uint8_t* scales, int64_t dim, const float* q,
                 int64_t group, float* folded, float* scores);

// o = o * old_factor + (weights . values) * new_factor, over the tokens of the piece. work, o: of the head.
void weigh_lanes(Element element, const Piece& piece, int64_t head, int64_t dim, int64_t group, const Work& work,
                 float* o);

#if defined(__AMX_TILE__)
// The same two steps through AMX tiles, for all heads of the span and for the elements and head sizes that they take.
// Queries are made ready once per run and kept in the tiles' part of the scratch.
struct Tiles;
int64_t tiles_bytes(int64_t k_dim, int64_t v_dim, int64_t heads, int64_t group);
bool tiles_take_keys(Element element, int64_t dim);
bool tiles_take_values(Element element, int64_t dim);
void begin_tiles(int64_t group);  // loads the tile configuration; end_tiles gives the tiles back
void end_tiles();
void ready_queries(const KvView& view, const float* q, const HeadSpan& heads, const Tiles& tiles);
void score_tiles(const KvView& view, const Piece& piece, const float* q, const HeadSpan& heads, const Tiles& tiles,
                 float* scores);
void weigh_tiles(const KvView& view, const Piece& piece, const HeadSpan& heads, const Work& work, const Tiles& tiles,
                 float* o);
#endif

WINDOWTAX_END_LEVEL
