#include "program/attend.h"

#include <algorithm>
#include <cmath>

namespace windowtax {

namespace {

// A thread gets so many splits, that none waits long for the other's last one; fewer where they would have less than
// about kGoodBlocks, because to begin one costs about as much as to read one.
constexpr int64_t kSplitsPerThread = 8;
constexpr int64_t kGoodBlocks = 8;
constexpr int64_t kTogetherBlocks = 4;  // so many, and reading them once saves more than a split more costs

// Tiles get smaller while a thread would have fewer than so many, down to about so many rows.
constexpr int64_t kTilesPerThread = 4, kLeastRows = 576;

// Of a span of heads that are read in one go.
constexpr int64_t kSpanRows = 16;           // query heads
constexpr int64_t kSpanBytes = 32 << 10;  // of keys and values in a block

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void Partials::fit(int64_t count, int64_t rows, int64_t v_dim) {
  rows_ = rows;
  v_dim_ = v_dim;
  stride_ = (2 * rows + rows * v_dim + 15) / 16 * 16;
  data_.get(count * stride_ * static_cast<int64_t>(sizeof(float)));
}

Softmax Partials::at(int64_t index, int64_t row) {
  float* base = reinterpret_cast<float*>(data_.data()) + index * stride_;
  return {base + row, base + rows_ + row, base + 2 * rows_ + row * v_dim_};
}

void Partials::reset(int64_t index) {
  const Softmax state = at(index);
  std::fill(state.m, state.m + rows_, -INFINITY);
  std::fill(state.l, state.l + rows_ + rows_ * v_dim_, 0.0f);
}

void Countdowns::fit(int64_t count) {
  if (count <= capacity_) return;
  left_ = std::make_unique<Left[]>(count);
  capacity_ = count;
}

void merge(const Kernels& kernels, const Attention& attention, Partials& partials, const Shares& shares, float* out) {
  const int64_t v_dim = attention.v_dim, group = shares.heads.group, count = shares.count + (shares.own >= 0);
  for (int64_t g = 0; g < shares.heads.rows(); ++g, out += v_dim) {
    const int64_t among = (g / group * shares.together + shares.place) * group + g % group;
    const auto part_of = [&](int64_t i) {
      return i < shares.count ? partials.at(shares.first + i, among) : partials.at(shares.own, g);
    };
    const bool sinks = !attention.sink_logits.empty();
    const float sink = sinks ? attention.sink_logits[shares.heads.first * group + g] : -INFINITY;
    float greatest = sink;
    for (int64_t i = 0; i < count; ++i) greatest = std::max(greatest, *part_of(i).m);
    float total = sinks ? std::exp(sink - greatest) : 0.0f;
    std::fill(out, out + v_dim, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const Softmax part = part_of(i);
      if (*part.l == 0.0f) continue;
      const float weight = std::exp(*part.m - greatest);
      total += weight * *part.l;
      for (int64_t d = 0; d < v_dim; ++d) out[d] += weight * part.o[d];
    }
    const float inverse = total > 0.0f ? 1.0f / total : 0.0f;
    for (int64_t d = 0; d < v_dim; ++d) out[d] *= inverse;
    attention.turn_values(kernels, 1, out);
  }
}

bool Attend::can_feed(const Buffer& x) const {
  const auto exact = [](const KvPart& part) {
    return part.view.k_element == Element::f32 || part.view.v_element == Element::f32;
  };
  return &x == &out_ && x.columns() % kGroup == 0 && attention_.v_dim % kPanelRows == 0 && !attention_.turns_values() &&
         std::none_of(attention_.parts.begin(), attention_.parts.end(), exact);
}

bool Attend::feeds(const Context& context) const {
  const auto& sequences = context.step.sequences;
  return std::all_of(sequences.begin(), sequences.end(), [this](const SequenceStep& s) { return in_tiles(s); });
}

int64_t Attend::prepare(const Context& context) {
  if (!fed(context)) out_.fit(context.step);
  tiles_.clear();
  runs_.clear();
  shares_.clear();
  mergings_.clear();
  split(context);
  int64_t most = 1;
  for (const SequenceStep& sequence : context.step.sequences) {
    if (in_tiles(sequence)) {
      add_tiles(context, sequence);
    } else if (const int64_t behind = together(sequence); behind > 0) {
      add_together(sequence, behind);
      most = std::max(most, span(0, sequence.rows).rows());
    } else {
      add_runs(sequence);
      most = std::max(most, span(0, 1).rows());
    }
  }
  partials_.fit(static_cast<int64_t>(runs_.size()), most, attention_.v_dim);
  left_.fit(static_cast<int64_t>(mergings_.size()));
  for (size_t i = 0; i < mergings_.size(); ++i) left_.set(static_cast<int64_t>(i), mergings_[i].splits);
  return static_cast<int64_t>(tiles_.size() + runs_.size());
}

// Up to which position all rows of a sequence read the same keys; 0 where that is nothing, or not worth it.
int64_t Attend::together(const SequenceStep& sequence) const {
  const KvPart& part = attention_.parts.front();
  const int64_t high = sequence.start / kBlockTokens * kBlockTokens;
  if (sequence.rows == 1 || sequence.rows > kTogetherTo || attention_.parts.size() > 1 || part.keep_first < high) {
    return 0;
  }
  const int64_t low = attention_.visible(part, sequence.start).first;
  const bool same = attention_.visible(part, sequence.start + sequence.rows - 1).first == low;
  return same && high - low >= kTogetherBlocks * kBlockTokens ? high : 0;
}

bool Attend::in_tiles(const SequenceStep& sequence) const {
  return sequence.rows >= kTileFrom && together(sequence) == 0;
}

// How many splits there are in all, for so many blocks in all.
void Attend::split(const Context& context) {
  all_blocks_ = 0;
  for (const SequenceStep& sequence : context.step.sequences) {
    if (in_tiles(sequence)) continue;
    const bool once = together(sequence) > 0;
    const int64_t spans = ceil_div(attention_.kv_heads, span_heads(once ? sequence.rows : 1));
    for (const KvPart& part : attention_.parts) {
      const auto [low, high] = attention_.visible(part, sequence.start);
      all_blocks_ += (once ? 1 : sequence.rows) * spans * ceil_div(high - low, kBlockTokens);
    }
  }
  const int64_t threads = context.num_threads, good = threads * kGoodBlocks;
  all_splits_ = threads * std::clamp<int64_t>((all_blocks_ + good / 2) / good, 1, kSplitsPerThread);
}

// As many heads as go into the vectors of a softmax and, with the blocks that are fetched ahead, into the L2 cache;
// about the same number in each span. rows: of the sequence, that read together.
int64_t Attend::span_heads(int64_t rows) const {
  int64_t bytes = 1;
  for (const KvPart& part : attention_.parts) {
    bytes = std::max(bytes, element_bytes(part.view.k_element, attention_.k_dim) +
                                element_bytes(part.view.v_element, attention_.v_dim));
  }
  const int64_t most =
      std::max<int64_t>(1, std::min(kSpanRows / (rows * attention_.group()), kSpanBytes / bytes));
  return ceil_div(attention_.kv_heads, ceil_div(attention_.kv_heads, most));
}

// The span that begins with a head.
HeadSpan Attend::span(int64_t head, int64_t rows) const {
  return {head, std::min(span_heads(rows), attention_.kv_heads - head), rows * attention_.group()};
}

// Tokens of the sequence's tiles, which are about even: in blocks, so that the same queries share a tile's units of rows
// whatever its size.
int64_t Attend::tile_tokens(const Context& context, const SequenceStep& sequence) const {
  const int64_t rows = sequence.rows, group = attention_.group();
  const int64_t most = context.kernels.tile_tokens(group, attention_.k_dim, attention_.v_dim);
  const int64_t least = std::clamp<int64_t>(kLeastRows / group / kBlockTokens * kBlockTokens, 1, most);
  const int64_t good = ceil_div(kTilesPerThread * context.num_threads, attention_.kv_heads);
  const int64_t count = std::max(ceil_div(rows, most), std::min(ceil_div(rows, least), good));
  return std::min(most, ceil_div(ceil_div(rows, count), kBlockTokens) * kBlockTokens);
}

void Attend::add_tiles(const Context& context, const SequenceStep& sequence) {
  const int64_t size = tile_tokens(context, sequence);
  // The last tiles read the most keys: begin with them, so that no thread is left with a long one.
  for (int64_t offset = (sequence.rows - 1) / size * size; offset >= 0; offset -= size) {
    for (int64_t head = 0; head < attention_.kv_heads; ++head) {
      tiles_.push_back({&sequence, offset, std::min(size, sequence.rows - offset), head});
    }
  }
}

void Attend::add_runs(const SequenceStep& sequence) {
  for (int64_t i = 0; i < sequence.rows; ++i) {
    cuts_.clear();
    for (const KvPart& part : attention_.parts) {
      const auto [low, high] = attention_.visible(part, sequence.start + i);
      cut(part, low, high);
    }
    const int64_t row = sequence.first_row + i, count = static_cast<int64_t>(cuts_.size());
    for (int64_t head = 0; head < attention_.kv_heads; head += span_heads(1)) {
      const HeadSpan heads = span(head, 1);
      const int64_t first = static_cast<int64_t>(runs_.size());
      add_splits(sequence, row, 1, heads);
      mergings_.push_back({static_cast<int64_t>(shares_.size()), 1, count});
      shares_.push_back({row, heads, first, count});
    }
  }
}

void Attend::add_together(const SequenceStep& sequence, int64_t behind) {
  const KvPart& part = attention_.parts.front();
  const int64_t rows = sequence.rows;
  cuts_.clear();
  cut(part, attention_.visible(part, sequence.start).first, behind);
  const int64_t count = static_cast<int64_t>(cuts_.size());
  for (int64_t head = 0; head < attention_.kv_heads; head += span_heads(rows)) {
    const HeadSpan all = span(head, rows), one{all.first, all.count, attention_.group()};
    const int64_t first = static_cast<int64_t>(runs_.size()), merging = static_cast<int64_t>(mergings_.size());
    add_splits(sequence, sequence.first_row, rows, all);
    mergings_.push_back({static_cast<int64_t>(shares_.size()), rows, count + rows});
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t own = static_cast<int64_t>(runs_.size()), row = sequence.first_row + i;
      const int64_t high = attention_.visible(part, sequence.start + i).second;
      runs_.push_back({&sequence, &part, row, 1, one, behind, high, 0, own, merging});
      shares_.push_back({row, one, first, count, rows, i, own});
    }
  }
}

// The cuts, for a merging that comes next.
void Attend::add_splits(const SequenceStep& sequence, int64_t row, int64_t rows, const HeadSpan& heads) {
  const int64_t count = static_cast<int64_t>(cuts_.size());
  for (int64_t c = 0; c < count; ++c) {
    const int64_t next = c + 1 < count && cuts_[c + 1].part == cuts_[c].part ? cuts_[c + 1].high : cuts_[c].high;
    const int64_t more = ceil_div(next, kBlockTokens) - ceil_div(cuts_[c].high, kBlockTokens);
    runs_.push_back({&sequence, cuts_[c].part, row, rows, heads, cuts_[c].low, cuts_[c].high, more,
                     static_cast<int64_t>(runs_.size()), static_cast<int64_t>(mergings_.size())});
  }
}

void Attend::cut(const KvPart& part, int64_t low, int64_t high) {
  if (high <= low) return;
  // Even splits: a short one at the end would cost as much to begin as the others.
  const int64_t first = low / kBlockTokens, blocks = ceil_div(high, kBlockTokens) - first;
  const int64_t count = std::clamp<int64_t>((blocks * all_splits_ + all_blocks_ / 2) / all_blocks_, 1, blocks);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t end = i + 1 == count ? high : (first + blocks * (i + 1) / count) * kBlockTokens;
    cuts_.push_back({&part, low, end});
    low = end;
  }
}

void Attend::run(const Context& context, int64_t chunk, Worker& worker) {
  const int64_t num_tiles = static_cast<int64_t>(tiles_.size());
  if (chunk < num_tiles) {
    run_tile(context, tiles_[chunk], worker);
  } else {
    run_split(context, runs_[chunk - num_tiles], worker);
  }
}

void Attend::run_tile(const Context& context, const TileItem& item, Worker& worker) {
  constexpr int64_t kMostParts = 4;
  TilePart parts[kMostParts];
  int64_t num_parts = 0;
  const SequenceStep& sequence = *item.sequence;
  const int64_t start = sequence.start + item.offset;
  for (const KvPart& part : attention_.parts) {
    const int64_t low = attention_.visible(part, start).first;
    const int64_t high = attention_.visible(part, start + item.tokens - 1).second;
    if (high <= low) continue;
    if (!part.by_channel()) {
      parts[num_parts++] = tile_part(part, item, low, high);
      continue;
    }
    // Twice: what is kept of earlier blocks, and the exact keys of each query's own.
    const int64_t last = (start + item.tokens - 1) / kBlockTokens * kBlockTokens;
    if (low < last) {
      parts[num_parts] = tile_part(part, item, low, std::min(high, last));
      parts[num_parts].channels.tail_block = -1;
      parts[num_parts++].earlier = true;
    }
    const int64_t first = std::max(low, start / kBlockTokens * kBlockTokens);
    if (first >= high) continue;
    parts[num_parts] = tile_part(part, item, first, high);
    parts[num_parts++].chunk = kBlockTokens;
  }
  const int64_t group = attention_.group(), row = sequence.first_row + item.offset;
  const Strided queries = tile_queries(context, item, worker);
  Ready* const next = fed(context);
  Tile tile{queries.rows,
            queries.stride,
            start,
            item.tokens,
            group,
            item.head,
            parts,
            num_parts,
            attention_.softcap,
            attention_.sink_logits.empty() ? nullptr : attention_.sink_logits.data() + item.head * group,
            next ? nullptr : out_.row(row) + item.head * group * attention_.v_dim,
            out_.columns()};
  if (next) leave_ready(*next, item, worker, tile);
  void* scratch = worker.kernel.get(context.kernels.tile_scratch(group, attention_.k_dim, attention_.v_dim));
  context.kernels.attend_tile(tile, scratch);
  for (int64_t t = 0; attention_.turns_values() && t < item.tokens; ++t) {
    attention_.turn_values(context.kernels, group, tile.out + t * tile.out_stride);
  }
}

// The tile's results go where the next product reads them.
void Attend::leave_ready(Ready& next, const TileItem& item, Worker& worker, Tile& tile) const {
  auto** const rows = static_cast<uint16_t**>(worker.places.get(item.tokens * static_cast<int64_t>(sizeof(uint16_t*))));
  const int64_t first = item.sequence->first_row + item.offset;
  for (int64_t t = 0; t < item.tokens; ++t) rows[t] = next.tile_row(first + t);
  tile.ready = rows;
  tile.ready_column = item.head * tile.group * attention_.v_dim;
}

// The dressed queries of a tile.
Attend::Strided Attend::tile_queries(const Context& context, const TileItem& item, Worker& worker) {
  const int64_t numbers = attention_.group() * attention_.k_dim, row = item.sequence->first_row + item.offset;
  if (!heads_.leaves_queries(*item.sequence)) return {qkv_.row(row) + item.head * numbers, qkv_.columns()};
  float* q = static_cast<float*>(worker.tile.get(item.tokens * numbers * static_cast<int64_t>(sizeof(float))));
  heads_.dress_queries(context, row, item.tokens, {item.head, 1}, q);
  return {q, numbers};
}

TilePart Attend::tile_part(const KvPart& part, const TileItem& item, int64_t low, int64_t high) const {
  const Run run = attention_.run(part, *item.sequence, low, high, std::max(low, item.sequence->start) / kBlockTokens);
  const int64_t first = low / kBlockTokens * kBlockTokens, window = part.windowed ? attention_.window : 0;
  return {&part.view,      run.ids, first,           run.count,    part.skip_first,
          part.keep_first, window,  attention_.chunk, run.channels, false};
}

void Attend::run_split(const Context& context, const RunItem& item, Worker& worker) {
  const HeadSpan& heads = item.heads;
  const int64_t position = item.sequence->start + item.row - item.sequence->first_row;
  Run run = attention_.run(*item.part, *item.sequence, item.low, item.high, position / kBlockTokens);
  run.more = item.more;
  partials_.reset(item.partial);
  const float* q = queries(context, item, worker);
  // Nobody but this split reads the block that the position is in.
  if (heads_.leaves(*item.sequence) && item.high == position + 1) {
    heads_.write_heads(context, *item.part, *item.sequence, {heads.first, heads.count}, worker);
  }
  void* scratch = worker.kernel.get(
      context.kernels.decode_scratch(attention_.k_dim, attention_.v_dim, heads.count, heads.group));
  context.kernels.attend_run(item.part->view, heads, q, run, attention_.softcap, partials_.at(item.partial), scratch);
  if (!left_.finish(item.merging)) return;
  const Merging& merging = mergings_[item.merging];
  for (int64_t i = 0; i < merging.count; ++i) merge_share(context, shares_[merging.first + i]);
}

// The dressed queries of a split, [KV heads][rows][G][k_dim].
const float* Attend::queries(const Context& context, const RunItem& item, Worker& worker) {
  const HeadSpan& heads = item.heads;
  const int64_t numbers = attention_.group() * attention_.k_dim;
  const bool left = heads_.leaves(*item.sequence);
  if (item.rows == 1 && !left) return qkv_.row(item.row) + heads.first * numbers;
  const int64_t all = heads.count * item.rows * numbers;
  float* q = static_cast<float*>(worker.tile.get(all * static_cast<int64_t>(sizeof(float))));
  if (left) {
    heads_.dress_queries(context, item.row, 1, {heads.first, heads.count}, q);
    return q;
  }
  for (int64_t h = 0; h < heads.count; ++h) {
    for (int64_t i = 0; i < item.rows; ++i) {
      std::copy_n(qkv_.row(item.row + i) + (heads.first + h) * numbers, numbers, q + (h * item.rows + i) * numbers);
    }
  }
  return q;
}

void Attend::merge_share(const Context& context, const Shares& shares) {
  merge(context.kernels, attention_, partials_, shares,
        out_.row(shares.row) + shares.heads.first * shares.heads.group * attention_.v_dim);
}

// The keys of the first block, where there are no tiles in front.
Bytes Attend::first_read(const Context&, int64_t chunk) const {
  if (!tiles_.empty()) return {};
  const RunItem& item = runs_[chunk];
  const KvView& view = item.part->view;
  const Table& table = item.sequence->tables[item.part->group];
  const int64_t id = table.ids[item.low / kBlockTokens - table.first];
  const int64_t bytes = element_bytes(view.k_element, view.k_dim);
  const int64_t half = item.heads.count * bytes / 2;
  return {view.k.base + id * view.k.block_bytes + item.heads.first * bytes, half, half};
}

}  // namespace windowtax
