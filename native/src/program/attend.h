// Attention of a step's queries over the keys and values in the pool.
//
// A sequence that brings many tokens is computed in tiles, one that brings few (decode, drafts) query by query; there
// the keys of a query are cut into splits for the threads, all KV heads of a block in one go where they are small, and
// who finishes the last split puts the partial results together by their log-sum-exp (flash-decoding), in the splits'
// order. qkv holds the dressed queries in front, but of sequences that Heads leaves; out is
// [rows, query_heads * v_dim].

#pragma once

#include <atomic>
#include <memory>

#include "program/heads.h"

namespace windowtax {

// Partial softmax results: m, l [rows] and o [rows, v_dim] each.
class Partials {
 public:
  void fit(int64_t count, int64_t rows, int64_t v_dim);
  Softmax at(int64_t index);
  void reset(int64_t index);

 private:
  int64_t rows_ = 0, v_dim_ = 0, stride_ = 0;
  Scratch data_;  // aligned: threads write neighbours
};

// The splits first ... first + count - 1 of one query and span of KV heads.
struct Shares {
  int64_t row;
  HeadSpan heads;
  int64_t first, count;
};

// out of the merged partial results of one query and span of KV heads.
void merge(const Kernels& kernels, const Attention& attention, Partials& partials, const Shares& shares, float* out);

class Attend : public Operation {
 public:
  // heads: what dresses and writes before, but for the sequences that it leaves.
  Attend(const Attention& attention, Heads& heads, Buffer& qkv, Buffer& out)
      : attention_(attention), heads_(heads), qkv_(qkv), out_(out) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context&) const override { return tiles_.empty(); }
  Bytes first_read(const Context& context, int64_t chunk) const override;

  // Sequences with at least so many tokens in the step are computed in tiles.
  static constexpr int64_t kTileFrom = 8;

 private:
  struct TileItem {
    const SequenceStep* sequence;
    int64_t offset, tokens, head;
  };
  struct RunItem {
    const SequenceStep* sequence;
    const KvPart* part;
    int64_t row;
    HeadSpan heads;
    int64_t low, high, more, partial, share;
  };
  // A part's positions low ... high - 1.
  struct Cut {
    const KvPart* part;
    int64_t low, high;
  };
  // How many splits of a share are not finished.
  struct alignas(64) Left {
    std::atomic<int32_t> splits;
  };

  void add_tiles(const Context& context, const SequenceStep& sequence);
  void add_runs(const SequenceStep& sequence);
  void cut(int64_t position);
  void count_splits();
  void split(const Context& context);
  int64_t span_heads() const;
  void run_tile(const Context& context, const TileItem& item, Worker& worker);
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
  std::vector<Cut> cuts_;
  std::unique_ptr<Left[]> left_;  // by share
  int64_t left_capacity_ = 0;
  int64_t all_blocks_ = 0, all_splits_ = 0;  // of what is computed query by query
  Partials partials_;
};

}  // namespace windowtax
