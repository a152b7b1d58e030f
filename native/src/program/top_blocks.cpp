#include "program/top_blocks.h"

#include <algorithm>
#include <cmath>

namespace windowtax {

namespace {

constexpr int64_t kFewRows = 16;
constexpr int64_t kScoreBlocks = 512;  // per split: at three heads of 64 numbers, 384 KB of summaries
constexpr int64_t kReadBlocks = 16;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void TopBlocks::prepare(const Context& context) {
  out_.fit(context.step);
  queries_.clear();
  scorings_.clear();
  few_ = context.step.rows() <= kFewRows;
  score_stride_ = 0;
  for (const SequenceStep& sequence : context.step.sequences) {
    for (int64_t i = 0; i < sequence.rows; ++i) {
      const int64_t position = sequence.start + i, blocks = position / kBlockTokens + 1;
      score_stride_ = std::max(score_stride_, blocks);
      for (int64_t head = 0; head < attention_.kv_heads; ++head) {
        queries_.push_back({&sequence, sequence.first_row + i, head, position, blocks});
      }
    }
  }
  if (!few_) return;
  splits_ = ceil_div(attention_.top_blocks, kReadBlocks);
  for (int64_t query = 0; query < num_queries(); query += attention_.kv_heads) {
    const int64_t blocks = queries_[query].blocks, threads = context.num_threads;
    if (blocks <= attention_.top_blocks) continue;
    const int64_t count = ceil_div(blocks, kScoreBlocks * threads) * threads;
    for (int64_t i = 0; i < count; ++i) {
      scorings_.push_back({query, blocks * i / count, blocks * (i + 1) / count - blocks * i / count});
    }
  }
  scores_.resize(std::max<size_t>(scores_.size(), queries_.size() * score_stride_));
  ids_.resize(std::max<size_t>(ids_.size(), queries_.size() * attention_.top_blocks));
  scale_ids_.resize(ids_.size());
  partials_.fit(num_queries() * splits_, attention_.group(), attention_.v_dim);
}

void TopBlocks::score(const Context& context, int64_t scoring, Worker& worker) {
  const Scoring& item = scorings_[scoring];
  const HeadSpan all{0, attention_.kv_heads, attention_.group()};
  score_range(context, queries_[item.query], all, item, scores_.data() + item.query * score_stride_, worker);
}

void TopBlocks::choose(const Context& context, int64_t query) {
  choose_from(context, queries_[query], scores_.data() + query * score_stride_, chosen_of(query));
}

void TopBlocks::read(const Context& context, int64_t reading, Worker& worker) {
  const Query& query = queries_[reading / splits_];
  partials_.reset(reading);
  const int64_t first = reading % splits_ * kReadBlocks;
  const int64_t count = std::min(kReadBlocks, query.chosen - first);
  if (count <= 0) return;
  read_range(context, query, chosen_of(reading / splits_), first, count, partials_.at(reading), worker);
}

void TopBlocks::merge_splits(const Context& context, int64_t query) {
  const Query& of = queries_[query];
  merge(context.kernels, attention_, partials_, {of.row, head_of(of), query * splits_, splits_}, out_of(of));
}

void TopBlocks::do_all(const Context& context, int64_t index, Worker& worker) {
  Query& query = queries_[index];
  const int64_t group = attention_.group(), top = attention_.top_blocks;
  float* scores = static_cast<float*>(
      worker.tile.get((query.blocks + 2 * top + group * (attention_.v_dim + 2)) * static_cast<int64_t>(sizeof(float))));
  int32_t* ids = reinterpret_cast<int32_t*>(scores + query.blocks);
  const Chosen chosen{ids, ids + top};
  if (query.blocks > top) score_range(context, query, head_of(query), {index, 0, query.blocks}, scores, worker);
  choose_from(context, query, scores, chosen);
  Partials alone;
  alone.fit(1, group, attention_.v_dim);
  alone.reset(0);
  read_range(context, query, chosen, 0, query.chosen, alone.at(0), worker);
  merge(context.kernels, attention_, alone, {query.row, head_of(query), 0, 1}, out_of(query));
}

void TopBlocks::score_range(const Context& context, const Query& query, const HeadSpan& heads, const Scoring& range,
                            float* scores, Worker& worker) {
  const Table& table = query.sequence->tables[attention_.summary_group];
  const int64_t numbers = heads.rows() * attention_.k_dim;
  const int64_t needs = ceil_div(context.kernels.score_scratch(attention_.k_dim, heads.count, heads.group), 64) * 64;
  uint8_t* scratch =
      static_cast<uint8_t*>(worker.kernel.get(needs + numbers * static_cast<int64_t>(sizeof(float))));
  float* q = reinterpret_cast<float*>(scratch + needs);  // turned back: summaries are of keys as the model made them
  std::copy_n(q_of(query), numbers, q);
  attention_.turn_keys(context.kernels, heads.rows(), q);
  context.kernels.score_blocks(attention_.minimum, attention_.maximum, heads, attention_.k_dim, q,
                               table.ids.data() + (range.first - table.first), range.count, scores + range.first,
                               score_stride_, scratch);
}

void TopBlocks::choose_from(const Context& context, Query& query, float* scores, const Chosen& chosen) {
  const KvPart& part = attention_.parts.front();
  const Table& table = query.sequence->tables[part.group];
  if (query.blocks <= attention_.top_blocks) {
    query.chosen = query.blocks;
    for (int64_t i = 0; i < query.blocks; ++i) chosen.ids[i] = static_cast<int32_t>(i);
  } else {
    scores[query.blocks - 1] = INFINITY;  // its own block
    query.chosen = context.kernels.select_top(scores, query.blocks, attention_.top_blocks, chosen.ids);
  }
  for (int64_t i = 0; i < query.chosen; ++i) {
    const int64_t block = chosen.ids[i];
    if (part.by_channel()) {
      const Table& scales = query.sequence->tables[part.scale_group];
      chosen.scale_ids[i] = scales.ids[block - scales.first];
    }
    chosen.ids[i] = table.ids[block - table.first];
  }
}

void TopBlocks::read_range(const Context& context, const Query& query, const Chosen& chosen, int64_t first,
                           int64_t count, const Softmax& state, Worker& worker) {
  const KvPart& part = attention_.parts.front();
  const bool own = first + count == query.chosen;  // the last of the chosen is the query's own block
  ChannelBlocks channels = attention_.channels(part, *query.sequence, query.blocks - 1, query.blocks - 1);
  if (part.by_channel()) {
    channels.scale_ids = chosen.scale_ids + first;
    channels.tail_block = own ? count - 1 : -1;
  }
  const Run run{chosen.ids + first, count,
                0,                  own ? query.position % kBlockTokens + 1 : kBlockTokens,
                channels,           std::min(kReadBlocks, query.chosen - first - count)};
  const int64_t group = attention_.group();
  void* scratch = worker.kernel.get(context.kernels.decode_scratch(attention_.k_dim, attention_.v_dim, 1, group));
  context.kernels.attend_run(part.view, head_of(query), q_of(query), run, attention_.softcap, state, scratch);
}

TopBlocks::Chosen TopBlocks::chosen_of(int64_t query) {
  return {ids_.data() + query * attention_.top_blocks, scale_ids_.data() + query * attention_.top_blocks};
}

}  // namespace windowtax
