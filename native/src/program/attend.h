// Attention of a step's queries over the keys and values in the pool.
//
// A sequence that brings many tokens is computed in tiles. Of one that brings few (decode, drafts) the keys are cut
// into splits for the threads, and who finishes the last of some heads' puts the partial results together by their
// log-sum-exp (flash-decoding), in the splits' order. Where all of its queries see the same keys, up to the block of
// the first one, they read them together, as if each were some heads more; behind that, query by query. qkv holds the
// dressed queries in front, but where Heads leaves them; out is [rows, query_heads * v_dim].

#pragma once

#include <atomic>
#include <memory>

#include "program/heads.h"
#include "program/linear.h"

namespace windowtax {

// Partial softmax results: m, l [rows] and o [rows, v_dim] each.
class Partials {
 public:
  void fit(int64_t count, int64_t rows, int64_t v_dim);
  Softmax at(int64_t index, int64_t row = 0);
  void reset(int64_t index);

 private:
  int64_t rows_ = 0, v_dim_ = 0, stride_ = 0;
  Scratch data_;  // aligned: threads write neighbours
};

// How many splits of something are not finished: counted down by threads, each on a cache line of its own.
class Countdowns {
 public:
  void fit(int64_t count);
  void set(int64_t index, int64_t splits) {
    left_[index].splits.store(static_cast<int32_t>(splits), std::memory_order_relaxed);
  }
  // One more is; returns whether it was the last. What others wrote in theirs is seen then.
  bool finish(int64_t index) { return left_[index].splits.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  struct alignas(64) Left {
    std::atomic<int32_t> splits;
  };
  std::unique_ptr<Left[]> left_;
  int64_t capacity_ = 0;
};

// The splits first ... first + count - 1 of one query and span of KV heads. Where `together` queries read them, this
// one is the `place`-th of them, and `own` is the split of the keys behind, that it reads alone; -1: none.
struct Shares {
  int64_t row;
  HeadSpan heads;
  int64_t first, count;
  int64_t together = 1, place = 0, own = -1;
};

// out of the merged partial results of one query and span of KV heads.
void merge(const Kernels& kernels, const Attention& attention, Partials& partials, const Shares& shares, float* out);

class Attend : public Feeder {
 public:
  // heads: what dresses and writes before, but for the sequences that it leaves.
  Attend(const Attention& attention, Heads& heads, Buffer& qkv, Buffer& out)
      : attention_(attention), heads_(heads), qkv_(qkv), out_(out) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context&) const override { return tiles_.empty(); }
  Bytes first_read(const Context& context, int64_t chunk) const override;
  bool can_feed(const Buffer& x) const override;
  bool feeds(const Context& context) const override;  // what is computed in tiles

  // Sequences with at least so many tokens in the step are computed in tiles; those that read together, from more on.
  static constexpr int64_t kTileFrom = 8, kTogetherTo = Heads::kManyRows - 1;

 private:
  // Rows of floats, so many from row to row.
  struct Strided {
    const float* rows;
    int64_t stride;
  };
  struct TileItem {
    const SequenceStep* sequence;
    int64_t offset, tokens, head;
  };
  // Rows row ... row + rows - 1 of the sequence read the part's positions low ... high - 1. heads.group: of all rows.
  struct RunItem {
    const SequenceStep* sequence;
    const KvPart* part;
    int64_t row, rows;
    HeadSpan heads;
    int64_t low, high, more, partial, merging;
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

  int64_t tile_tokens(const Context& context, const SequenceStep& sequence) const;
  void add_tiles(const Context& context, const SequenceStep& sequence);
  int64_t together(const SequenceStep& sequence) const;
  bool in_tiles(const SequenceStep& sequence) const;
  void add_runs(const SequenceStep& sequence);
  void add_together(const SequenceStep& sequence, int64_t behind);
  void add_splits(const SequenceStep& sequence, int64_t row, int64_t rows, const HeadSpan& heads);
  void cut(const KvPart& part, int64_t low, int64_t high);
  void split(const Context& context);
  HeadSpan span(int64_t head, int64_t rows) const;
  int64_t span_heads(int64_t rows) const;
  const float* queries(const Context& context, const RunItem& item, Worker& worker);
  void run_tile(const Context& context, const TileItem& item, Worker& worker);
  Strided tile_queries(const Context& context, const TileItem& item, Worker& worker);
  void leave_ready(Ready& next, const TileItem& item, Worker& worker, Tile& tile) const;
  TilePart tile_part(const KvPart& part, const TileItem& item, int64_t low, int64_t high) const;
  void run_split(const Context& context, const RunItem& item, Worker& worker);
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
  Countdowns left_;  // by merging
  int64_t all_blocks_ = 0, all_splits_ = 0;  // of what is not computed in tiles
  Partials partials_;
};

}  // namespace windowtax
