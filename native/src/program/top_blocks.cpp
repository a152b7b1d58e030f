#include "program/top_blocks.h"

#include <algorithm>
#include <cmath>

namespace windowtax {

namespace {

constexpr int64_t kFewRows = 16;
constexpr int64_t kScoreBlocks = 512;  // per split: at three heads of 64 numbers, 384 KB of summaries
constexpr int64_t kReadBlocks = 16;
constexpr int64_t kFirstBytes = 4096;  // of summaries that are fetched while other threads are waited for

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
  for (int64_t query = 0; query < num_queries(); query += attention_.kv_heads) add_scorings(context, query);
  scores_.resize(std::max<size_t>(scores_.size(), queries_.size() * score_stride_));
  partials_.fit(num_queries() * splits_, attention_.group(), attention_.v_dim);
  left_.fit(num_queries());
  for (int64_t query = 0; query < num_queries(); ++query) left_.set(query, splits_);
}

// Of a row, whose own block needs no score.
void TopBlocks::add_scorings(const Context& context, int64_t query) {
  const int64_t others = queries_[query].blocks - 1, threads = context.num_threads;
  if (others < attention_.top_blocks) return;
  const int64_t count = ceil_div(others, kScoreBlocks * threads) * threads;
  for (int64_t i = 0; i < count; ++i) {
    scorings_.push_back({query, others * i / count, others * (i + 1) / count - others * i / count});
  }
}

void TopBlocks::score(const Context& context, int64_t scoring, Worker& worker) {
  const Scoring& item = scorings_[scoring];
  const Query& query = queries_[item.query];
  const HeadSpan all{0, attention_.kv_heads, attention_.group()};
  float* room = static_cast<float*>(
      worker.tile.get(all.rows() * attention_.k_dim * static_cast<int64_t>(sizeof(float))));
  score_range(context, query, all, item, dressed(context, query, all, room),
              scores_.data() + item.query * score_stride_, worker);
}

Bytes TopBlocks::first_read(int64_t scoring) const {
  const Scoring& item = scorings_[scoring];
  const Table& table = queries_[item.query].sequence->tables[attention_.summary_group];
  return {attention_.minimum.base + table.ids[item.first - table.first] * attention_.minimum.block_bytes,
          std::min(kFirstBytes, item.count * attention_.minimum.block_bytes)};
}

void TopBlocks::read(const Context& context, int64_t reading, Worker& worker) {
  few_ ? read_split(context, reading, worker) : read_all(context, reading, worker);
}

void TopBlocks::read_split(const Context& context, int64_t reading, Worker& worker) {
  const int64_t index = reading / splits_, first = reading % splits_ * kReadBlocks;
  const Query& query = queries_[index];
  const int64_t chosen_blocks = std::min(query.blocks, attention_.top_blocks);
  const int64_t count = std::min(kReadBlocks, chosen_blocks - first);
  partials_.reset(reading);
  if (count > 0) {
    if (first + count == chosen_blocks) write_own(context, query, worker);
    const Chosen chosen = choose(context, query, scores_.data() + index * score_stride_, worker);
    float* room = static_cast<float*>(
        worker.tile.get(attention_.group() * attention_.k_dim * static_cast<int64_t>(sizeof(float))));
    read_range(context, query, chosen, first, count, dressed(context, query, head_of(query), room),
               partials_.at(reading), worker);
  }
  if (!left_.finish(index)) return;
  merge(context.kernels, attention_, partials_, {query.row, head_of(query), index * splits_, splits_}, out_of(query));
}

void TopBlocks::read_all(const Context& context, int64_t index, Worker& worker) {
  const Query& query = queries_[index];
  const HeadSpan head = head_of(query);
  write_own(context, query, worker);
  const int64_t numbers = head.rows() * attention_.k_dim;
  float* room = static_cast<float*>(
      worker.tile.get((numbers + query.blocks) * static_cast<int64_t>(sizeof(float))));
  float* scores = room + numbers;
  const float* q = dressed(context, query, head, room);
  if (query.blocks > attention_.top_blocks) {
    score_range(context, query, head, {index, 0, query.blocks - 1}, q, scores, worker);
  }
  const Chosen chosen = choose(context, query, scores, worker);
  Partials alone;
  alone.fit(1, head.group, attention_.v_dim);
  alone.reset(0);
  read_range(context, query, chosen, 0, chosen.count, q, alone.at(0), worker);
  merge(context.kernels, attention_, alone, {query.row, head, 0, 1}, out_of(query));
}

// Where Heads leaves it: only this head's last split reads the block that the position is in.
void TopBlocks::write_own(const Context& context, const Query& query, Worker& worker) {
  if (!heads_.leaves(*query.sequence)) return;
  heads_.write_heads(context, attention_.parts.front(), *query.sequence, {query.head, 1}, worker);
}

// The queries of some KV heads; room: for those that Heads leaves.
const float* TopBlocks::dressed(const Context& context, const Query& query, const HeadSpan& heads, float* room) {
  if (!heads_.leaves(*query.sequence) && !heads_.leaves_queries(*query.sequence)) {
    return qkv_.row(query.row) + heads.first * attention_.group() * attention_.k_dim;
  }
  heads_.dress_queries(context, query.row, 1, {heads.first, heads.count}, room);
  return room;
}

void TopBlocks::score_range(const Context& context, const Query& query, const HeadSpan& heads, const Scoring& range,
                            const float* q, float* scores, Worker& worker) {
  const Table& table = query.sequence->tables[attention_.summary_group];
  const int64_t numbers = heads.rows() * attention_.k_dim;
  const int64_t needs = ceil_div(context.kernels.score_scratch(attention_.k_dim, heads.count, heads.group), 64) * 64;
  uint8_t* scratch =
      static_cast<uint8_t*>(worker.kernel.get(needs + numbers * static_cast<int64_t>(sizeof(float))));
  float* turned = reinterpret_cast<float*>(scratch + needs);  // back: summaries are of keys as the model made them
  std::copy_n(q, numbers, turned);
  attention_.turn_keys(context.kernels, heads.rows(), turned);
  context.kernels.score_blocks(attention_.minimum, attention_.maximum, heads, attention_.k_dim, turned,
                               table.ids.data() + (range.first - table.first), range.count, scores + range.first,
                               score_stride_, scratch);
  // A query's own block is always chosen.
  const int64_t own = query.blocks - 1;
  for (int64_t h = 0; range.first + range.count == own && h < heads.count; ++h) {
    scores[h * score_stride_ + own] = INFINITY;
  }
}

// The thread keeps what it chose last: the splits of a query come one after the other.
TopBlocks::Chosen TopBlocks::choose(const Context& context, const Query& query, const float* scores, Worker& worker) {
  const KvPart& part = attention_.parts.front();
  const int64_t top = attention_.top_blocks, count = std::min(query.blocks, top);
  int32_t* ids = static_cast<int32_t*>(worker.chosen.get(2 * top * static_cast<int64_t>(sizeof(int32_t))));
  int32_t* scale_ids = ids + top;
  const Chosen chosen{ids, scale_ids, count};
  if (worker.chosen_for == &query) return chosen;
  worker.chosen_for = &query;
  if (query.blocks <= top) {
    for (int64_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>(i);
  } else {
    context.kernels.select_top(scores, query.blocks, top, ids);
  }
  const Table& table = query.sequence->tables[part.group];
  for (int64_t i = 0; i < count; ++i) {
    const int64_t block = ids[i];
    if (part.by_channel()) {
      const Table& scales = query.sequence->tables[part.scale_group];
      scale_ids[i] = scales.ids[block - scales.first];
    }
    ids[i] = table.ids[block - table.first];
  }
  return chosen;
}

void TopBlocks::read_range(const Context& context, const Query& query, const Chosen& chosen, int64_t first,
                           int64_t count, const float* q, const Softmax& state, Worker& worker) {
  const KvPart& part = attention_.parts.front();
  const bool own = first + count == chosen.count;  // the last of the chosen is the query's own block
  ChannelBlocks channels = attention_.channels(part, *query.sequence, query.blocks - 1, query.blocks - 1);
  if (part.by_channel()) {
    channels.scale_ids = chosen.scale_ids + first;
    channels.tail_block = own ? count - 1 : -1;
  }
  const Run run{chosen.ids + first, count,
                0,                  own ? query.position % kBlockTokens + 1 : kBlockTokens,
                channels,           std::min(kReadBlocks, chosen.count - first - count)};
  void* scratch =
      worker.kernel.get(context.kernels.decode_scratch(attention_.k_dim, attention_.v_dim, 1, attention_.group()));
  context.kernels.attend_run(part.view, head_of(query), q, run, attention_.softcap, state, scratch);
}

}  // namespace windowtax
