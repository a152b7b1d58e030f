// Attention over the best blocks only (Quest, Tang et al. 2024, arXiv 2406.10774): each query scores the summaries of its
// blocks, chooses the best for each KV head, its own block always among them, and reads those.
//
// Few queries: scoring, choosing and reading are phases of their own, cut into splits for the threads. Many queries: a
// thread takes one query and KV head through all three.

#pragma once

#include "program/attend.h"

namespace windowtax {

class TopBlocks {
 public:
  TopBlocks(const Attention& attention, Buffer& qkv, Buffer& out) : attention_(attention), qkv_(qkv), out_(out) {}

  void prepare(const Context& context);
  int64_t num_scorings() const { return static_cast<int64_t>(scorings_.size()); }
  int64_t num_choices() const { return few_ ? static_cast<int64_t>(queries_.size()) : 0; }
  int64_t num_readings() const { return few_ ? static_cast<int64_t>(queries_.size()) * splits_ : 0; }
  int64_t num_queries() const { return static_cast<int64_t>(queries_.size()); }
  bool few() const { return few_; }

  void score(const Context& context, int64_t scoring, Worker& worker);
  void choose(const Context& context, int64_t query);
  void read(const Context& context, int64_t reading, Worker& worker);
  void merge_splits(const Context& context, int64_t query);
  void do_all(const Context& context, int64_t query, Worker& worker);

 private:
  // One query position and KV head.
  struct Query {
    const SequenceStep* sequence;
    int64_t row, head, position;
    int64_t blocks;  // that it may read: up to its own
    int64_t chosen = 0;
  };
  // Blocks that are scored for all heads of a row, whose queries are `query` and those behind it.
  struct Scoring {
    int64_t query, first, count;
  };
  // Ids of the chosen blocks, and of their scales for keys with a scale per channel.
  struct Chosen {
    int32_t* ids;
    int32_t* scale_ids;
  };

  const float* q_of(const Query& query) { return qkv_.row(query.row) + query.head * attention_.group() * attention_.k_dim; }
  HeadSpan head_of(const Query& query) const { return {query.head, 1, attention_.group()}; }
  float* out_of(const Query& query) { return out_.row(query.row) + query.head * attention_.group() * attention_.v_dim; }
  void score_range(const Context& context, const Query& query, const HeadSpan& heads, const Scoring& range,
                   float* scores, Worker& worker);
  void choose_from(const Context& context, Query& query, float* scores, const Chosen& chosen);
  void read_range(const Context& context, const Query& query, const Chosen& chosen, int64_t first, int64_t count,
                  const Softmax& state, Worker& worker);
  Chosen chosen_of(int64_t query);

  const Attention& attention_;
  Buffer& qkv_;
  Buffer& out_;
  bool few_ = false;
  int64_t splits_ = 1, score_stride_ = 0;
  std::vector<Query> queries_;
  std::vector<Scoring> scorings_;
  std::vector<float> scores_;
  std::vector<int32_t> ids_, scale_ids_;
  Partials partials_;
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

 private:
  TopBlocks& top_;
};

class TopChoose : public Operation {
 public:
  explicit TopChoose(TopBlocks& top) : top_(top) {}
  int64_t prepare(const Context&) override { return top_.num_choices(); }
  void run(const Context& context, int64_t chunk, Worker&) override { top_.choose(context, chunk); }

 private:
  TopBlocks& top_;
};

class TopRead : public Operation {
 public:
  explicit TopRead(TopBlocks& top) : top_(top) {}
  int64_t prepare(const Context&) override { return top_.num_readings(); }
  void run(const Context& context, int64_t chunk, Worker& worker) override { top_.read(context, chunk, worker); }
  bool in_shares(const Context&) const override { return true; }

 private:
  TopBlocks& top_;
};

class TopFinish : public Operation {
 public:
  explicit TopFinish(TopBlocks& top) : top_(top) {}
  int64_t prepare(const Context&) override { return top_.num_queries(); }
  void run(const Context& context, int64_t chunk, Worker& worker) override {
    if (top_.few()) {
      top_.merge_splits(context, chunk);
    } else {
      top_.do_all(context, chunk, worker);
    }
  }

 private:
  TopBlocks& top_;
};

}  // namespace windowtax
