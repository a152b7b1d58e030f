#include "program/heads.h"

#include <algorithm>
#include <cstring>

namespace windowtax {

namespace {

// A part of a row every few KiB is nothing that the hardware foresees.
constexpr int64_t kRowsAhead = 4;

void fetch(const float* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(from + i);
}

}  // namespace

int64_t Heads::prepare(const Context& context) {
  pieces_.clear();
  for (const SequenceStep& sequence : context.step.sequences) {
    if (leaves(sequence)) continue;
    const int64_t first = static_cast<int64_t>(pieces_.size());
    for (int64_t done = 0; done < sequence.rows;) {
      const int64_t position = sequence.start + done, offset = position % kBlockTokens;
      const int64_t tokens = std::min(kBlockTokens - offset, sequence.rows - done);
      pieces_.push_back({&sequence, position / kBlockTokens, offset, tokens, sequence.first_row + done});
      done += tokens;
    }
    if (by_channel()) chain_tail(first);
  }
  if (by_channel()) {
    attention_.own_keys->fit(context.step, tail_bytes(attention_.kv_heads));
  }
  return static_cast<int64_t>(pieces_.size());
}

void Heads::chain_tail(int64_t first) {
  // The block that was begun earlier takes its keys from the tail; only then may the newest block's come there.
  const int64_t last = static_cast<int64_t>(pieces_.size()) - 1;
  if (last > first && pieces_[first].offset != 0) pieces_[first].then = last;
}

void Heads::take_tail(const KvPart& part, const Piece& piece, const Some& heads) const {
  if (piece.offset == 0) return;
  const int64_t at = tail_bytes(heads.first);
  std::memcpy(attention_.own_keys->block(*piece.sequence, piece.block) + at, part.tail_of(*piece.sequence) + at,
              tail_bytes(heads.count));
}

void Heads::leave_tail(const KvPart& part, const Piece& piece, const Some& heads) const {
  // Also where the block is full: its last tokens may be drafts, and the sequence go back into it.
  if (piece.offset + piece.tokens + piece.block * kBlockTokens < piece.sequence->start + piece.sequence->rows) return;
  const int64_t at = tail_bytes(heads.first);
  std::memcpy(part.tail_of(*piece.sequence) + at, attention_.own_keys->block(*piece.sequence, piece.block) + at,
              tail_bytes(heads.count));
}

void Heads::run(const Context& context, int64_t chunk, Worker& worker) {
  const bool waits = std::any_of(pieces_.begin(), pieces_.end(), [chunk](const Piece& p) { return p.then == chunk; });
  for (int64_t index = waits ? -1 : chunk; index >= 0; index = pieces_[index].then) {
    const Piece& piece = pieces_[index];
    const bool leaves = leaves_queries(*piece.sequence);
    for (int64_t i = 0; i < piece.tokens; ++i) {
      const int64_t row = piece.row + i;
      if (i + kRowsAhead < piece.tokens) fetch(key(row + kRowsAhead, 0), key_values());
      if (!leaves) dress(context, row, attention_.query_heads, qkv_.row(row));
      dress_keys(context, row, {0, attention_.kv_heads});
    }
    write(context, piece, worker);
  }
}

void Heads::dress(const Context& context, int64_t row, int64_t heads, float* q) {
  turn(context, q, heads, dressing_.q_norm, row);
  attention_.turn_keys(context.kernels, heads, q);
  context.kernels.scale(attention_.scale, heads * attention_.k_dim, q);
}

void Heads::dress_keys(const Context& context, int64_t row, const Some& heads) {
  turn(context, key(row, heads.first), heads.count, dressing_.k_norm, row);
  attention_.turn_keys(context.kernels, heads.count, key(row, heads.first));
  attention_.turn_values(context.kernels, heads.count, value(row, heads.first));
}

void Heads::dress_queries(const Context& context, int64_t row, int64_t rows, const Some& heads, float* q) {
  const int64_t each = attention_.group() * attention_.k_dim, count = heads.count * each;
  for (int64_t i = 0; i < rows; ++i, q += count) {
    if (i + kRowsAhead < rows) fetch(qkv_.row(row + i + kRowsAhead) + heads.first * each, count);
    std::copy_n(qkv_.row(row + i) + heads.first * each, count, q);
    dress(context, row + i, heads.count * attention_.group(), q);
  }
}

void Heads::write_heads(const Context& context, const KvPart& part, const SequenceStep& sequence, const Some& heads,
                        Worker& worker) {
  dress_keys(context, sequence.first_row, heads);
  const int64_t offset = sequence.start % kBlockTokens;
  int64_t id;
  const Piece piece{&sequence, sequence.start / kBlockTokens, offset, 1, sequence.first_row};
  const bool full = write_part(context, part, piece, heads, id);
  if (full && attention_.top_blocks > 0) summarise(context, part, piece, heads, id, worker);
}

void Heads::turn(const Context& context, float* heads, int64_t count, const std::vector<float>& norm, int64_t row) {
  const int64_t dim = attention_.k_dim;
  const auto& rms_norm = context.kernels.rms_norm;
  if (dressing_.norm == 2) rms_norm(heads, norm.data(), dressing_.eps, count * dim, heads);
  Rotation* rotation = dressing_.rotation;
  for (int64_t head = 0; head < count; ++head, heads += dim) {
    if (dressing_.norm == 1) rms_norm(heads, norm.data(), dressing_.eps, dim, heads);
    if (rotation != nullptr) {
      context.kernels.rotate(heads, rotation->cos(row), rotation->sin(row), rotation->half());
    }
  }
}

void Heads::write(const Context& context, const Piece& piece, Worker& worker) {
  for (const KvPart& part : attention_.parts) {
    int64_t id;
    const Some all{0, attention_.kv_heads};
    const bool full = write_part(context, part, piece, all, id);
    if (full && attention_.top_blocks > 0) summarise(context, part, piece, all, id, worker);
  }
}

bool Heads::write_part(const Context& context, const KvPart& part, const Piece& piece, const Some& heads, int64_t& id) {
  // A block that the part's group does not hold (already behind the window when the chunk was planned) is not written.
  const int64_t first = piece.block * kBlockTokens;
  const int64_t begin = std::max(piece.offset, part.skip_first - first);
  const int64_t end = std::min(piece.offset + piece.tokens, part.keep_first - first);
  const Table& table = piece.sequence->tables[part.group];
  const int64_t place = piece.block - table.first, row = piece.row + begin - piece.offset;
  id = -1;
  if (end <= begin || place < 0 || place >= static_cast<int64_t>(table.ids.size())) return false;
  id = table.ids[place];
  const ChannelBlocks channels = attention_.channels(part, *piece.sequence, piece.block, piece.block);
  if (part.by_channel()) take_tail(part, piece, heads);
  context.kernels.append(part.view.heads(heads.first, heads.count), id, channels.scale_ids ? *channels.scale_ids : 0,
                         channels.tail ? channels.tail + tail_bytes(heads.first) : nullptr, begin, end - begin,
                         key(row, heads.first), value(row, heads.first), qkv_.columns());
  if (part.by_channel()) leave_tail(part, piece, heads);
  return end == kBlockTokens;
}

void Heads::summarise(const Context& context, const KvPart& part, const Piece& piece, const Some& heads,
                      int64_t block_id, Worker& worker) {
  // Once, when the block is full, from the keys as they are kept: a query always reads its own block, so nobody asks for
  // the summary of an unfinished one, and drafts that were rejected leave no trace in it.
  const int64_t dim = attention_.k_dim, width = heads.count * dim;
  float* keys = static_cast<float*>(worker.tile.get(kBlockTokens * (width + dim) * static_cast<int64_t>(sizeof(float))));
  float* one = keys + kBlockTokens * width;
  const ChannelBlocks channels = attention_.channels(part, *piece.sequence, piece.block, piece.block);
  for (int64_t head = 0; head < heads.count; ++head) {
    context.kernels.read_keys(part.view, block_id, channels.scale_ids ? *channels.scale_ids : 0, heads.first + head, one);
    attention_.turn_keys(context.kernels, kBlockTokens, one);  // back: channels bound best as the model made them
    for (int64_t t = 0; t < kBlockTokens; ++t) std::copy_n(one + t * dim, dim, keys + t * width + head * dim);
  }
  const Table& summaries = piece.sequence->tables[attention_.summary_group];
  const int64_t id = summaries.ids[piece.block - summaries.first];
  const int64_t place = heads.first * dim * 2;  // in bf16
  context.kernels.summarise(attention_.minimum.base + id * attention_.minimum.block_bytes + place,
                            attention_.maximum.base + id * attention_.maximum.block_bytes + place, heads.count, dim, 0,
                            kBlockTokens, keys, width);
}

}  // namespace windowtax
