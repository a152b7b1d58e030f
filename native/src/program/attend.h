// Attention of a step's queries over the keys and values in the pool.
//
// A sequence that brings many tokens is computed in tiles. Of one that brings few (decode, drafts) the keys are cut into
// splits for the threads, and who finishes the last of a head's puts the partial results together by their log-sum-exp
// (flash-decoding), in the splits' order. Where all of its queries see the same keys, up to the block of the first one,
// they read them together, as if each were a head more; behind that, query by query. qkv holds the dressed queries in
// front, but of sequences that Heads leaves; out is [rows, query_heads * v_dim].

#pragma once

#include <atomic>
#include <memory>

#include "program/heads.h"

namespace windowtax {

// Partial softmax results of up to `heads` heads: m, l [heads] and o [heads, v_dim] each.
class Partials {
 public:
  void fit(int64_t count, int64_t heads, int64_t v_dim);
  Softmax at(int64_t index, int64_t head = 0);
  void reset(int64_t index);

 private:
  int64_t heads_ = 0, v_dim_ = 0, stride_ = 0;
  Scratch data_;  // aligned: threads write neighbours
};

// The splits first ... first + count - 1 of one query and KV head. Where several queries read them together, `place` is this
// one's among them, and `own` the split of the keys behind, that it reads alone; -1: none.
struct Shares {
  int64_t row, head, first, count;
  int64_t place = 0, own = -1;
};

// out of the merged partial results of one query and KV head.
void merge(const Kernels& kernels, const Attention& attention, Partials& partials, const Shares& shares, float* out);

class Attend : public Operation {
 public:
  // heads: what dresses and writes before, but for the sequences that it leaves.
  Attend(const Attention& attention, Heads& heads, Buffer& qkv, Buffer& out)
      : attention_(attention), heads_(heads), qkv_(qkv), out_(out) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;

  // Sequences with at least so many tokens in the step are computed in tiles; those that read together only from more on.
  static constexpr int64_t kTileFrom = 8, kTogetherTo = 11;

 private:
  struct TileItem {
    const SequenceStep* sequence;
    int64_t offset, tokens, head;
  };
  // Rows row ... row + rows - 1 of the sequence read the part's positions low ... high - 1.
  struct RunItem {
    const SequenceStep* sequence;
    const KvPart* part;
    int64_t row, rows, head, low, high, partial, merging;
  };
  // A part's positions low ... high - 1.
  struct Cut {
    const KvPart* part;
    int64_t low, high;
  };
  // Shares first ... first + count - 1, which are put together when the last of their splits is finished.
  struct Merging {
    int64_t first, count, splits;
  };
  // How many splits are not finished.
  struct alignas(64) Left {
    std::atomic<int32_t> splits;
  };

  void add_tiles(const Context& context, const SequenceStep& sequence);
  void add_runs(const SequenceStep& sequence, int64_t split_blocks);
  void add_together(const SequenceStep& sequence, int64_t behind, int64_t split_blocks);
  int64_t together(const SequenceStep& sequence) const;
  bool in_tiles(const SequenceStep& sequence) const;
  void cut(const KvPart& part, int64_t low, int64_t high, int64_t split_blocks);
  void count_splits();
  int64_t split_blocks(const Context& context) const;
  void run_tile(const Context& context, const TileItem& item, Worker& worker);
  TilePart tile_part(const KvPart& part, const TileItem& item, int64_t low, int64_t high) const;
  void run_split(const Context& context, const RunItem& item, Worker& worker);
  const float* queries(const Context& context, const RunItem& item, Worker& worker);
  void merge_share(const Context& context, const Shares& shares);

  const Attention& attention_;
  Heads& heads_;
  Buffer& qkv_;
  Buffer& out_;
  std::vector<TileItem> tiles_;
  std::vector<RunItem> runs_;
  std::vector<Shares> shares_;
  std::vector<Merging> mergings_;
  std::vector<Cut> cuts_;
  std::unique_ptr<Left[]> left_;  // by merging
  int64_t left_capacity_ = 0;
  Partials partials_;
};

}  // namespace windowtax
