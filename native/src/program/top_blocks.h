// Attention over the best blocks only (Quest, Tang et al. 2024, arXiv 2406.10774): each query scores the summaries of
// its blocks, chooses the best for each KV head, its own block always among them, and reads those.
//
// Few queries: scoring and reading are phases of their own, cut into splits for the threads. Each thread chooses by
// itself for the heads of which it reads splits, since a phase more takes longer than choosing twice; and who finishes a
// head's last split puts them together. Many queries: a thread takes one query and KV head all the way.

#pragma once

#include "program/attend.h"

namespace windowtax {

class TopBlocks {
 public:
  // heads: what dresses and writes before, but for what it leaves.
  TopBlocks(const Attention& attention, Heads& heads, Buffer& qkv, Buffer& out)
      : attention_(attention), heads_(heads), qkv_(qkv), out_(out) {}

  void prepare(const Context& context);
  int64_t num_scorings() const { return static_cast<int64_t>(scorings_.size()); }
  int64_t num_readings() const { return num_queries() * (few_ ? splits_ : 1); }
  bool few() const { return few_; }

  void score(const Context& context, int64_t scoring, Worker& worker);
  void read(const Context& context, int64_t reading, Worker& worker);
  // The summaries that a scoring begins with.
  Bytes first_read(int64_t scoring) const;

 private:
  // One query position and KV head.
  struct Query {
    const SequenceStep* sequence;
    int64_t row, head, position;
    int64_t blocks;  // that it may read: up to its own
  };
  // Blocks that are scored for all heads of a row, whose queries are `query` and those behind it.
  struct Scoring {
    int64_t query, first, count;
  };
  // The chosen blocks: their ids, and those of their scales for keys with a scale per channel.
  struct Chosen {
    const int32_t *ids, *scale_ids;
    int64_t count;
  };

  int64_t num_queries() const { return static_cast<int64_t>(queries_.size()); }
  HeadSpan head_of(const Query& query) const { return {query.head, 1, attention_.group()}; }
  float* out_of(const Query& query) { return out_.row(query.row) + query.head * attention_.group() * attention_.v_dim; }
  void add_scorings(const Context& context, int64_t query);
  void write_own(const Context& context, const Query& query, Worker& worker);
  const float* dressed(const Context& context, const Query& query, const HeadSpan& heads, float* room);
  void score_range(const Context& context, const Query& query, const HeadSpan& heads, const Scoring& range,
                   const float* q, float* scores, Worker& worker);
  Chosen choose(const Context& context, const Query& query, const float* scores, Worker& worker);
  void read_split(const Context& context, int64_t reading, Worker& worker);
  void read_all(const Context& context, int64_t query, Worker& worker);
  void read_range(const Context& context, const Query& query, const Chosen& chosen, int64_t first, int64_t count,
                  const float* q, const Softmax& state, Worker& worker);

  const Attention& attention_;
  Heads& heads_;
  Buffer& qkv_;
  Buffer& out_;
  bool few_ = false;
  int64_t splits_ = 1, score_stride_ = 0;
  std::vector<Query> queries_;
  std::vector<Scoring> scorings_;
  std::vector<float> scores_;
  Partials partials_;
  Countdowns left_;  // splits, by query
};

// The phases, in order.
class TopScore : public Operation {
 public:
  explicit TopScore(TopBlocks& top) : top_(top) {}
  int64_t prepare(const Context& context) override {
    top_.prepare(context);
    return top_.num_scorings();
  }
  void run(const Context& context, int64_t chunk, Worker& worker) override { top_.score(context, chunk, worker); }
  bool in_shares(const Context&) const override { return true; }
  Bytes first_read(const Context&, int64_t chunk) const override { return top_.first_read(chunk); }

 private:
  TopBlocks& top_;
};

class TopRead : public Operation {
 public:
  explicit TopRead(TopBlocks& top) : top_(top) {}
  int64_t prepare(const Context&) override { return top_.num_readings(); }
  void run(const Context& context, int64_t chunk, Worker& worker) override { top_.read(context, chunk, worker); }
  bool in_shares(const Context&) const override { return top_.few(); }

 private:
  TopBlocks& top_;
};

}  // namespace windowtax
