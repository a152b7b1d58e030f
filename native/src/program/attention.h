// What a layer's attention is, as the operations that compute it need it: sizes, visibility, and where its planes lie.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "program/own_keys.h"
#include "program/step.h"

namespace windowtax {

// One part of the layer's keys and values: the tokens at positions skip_first ... keep_first - 1 (sinks, window, or all).
struct KvPart {
  KvView view{};
  int64_t group = 0;  // the layer group whose table names its blocks
  int64_t skip_first = 0;
  int64_t keep_first = INT64_MAX;
  bool windowed = true;      // false for sinks, which the window does not hide
  int64_t scale_group = -1;  // i4_channel: the groups of the scales and of the tail, and the tail plane
  int64_t tail_group = -1;
  Plane tail{};

  bool by_channel() const { return view.k_element == Element::i4_channel; }
  uint8_t* tail_of(const SequenceStep& sequence) const {
    return tail.base + sequence.tables[tail_group].ids[0] * tail.block_bytes;
  }
};

struct Attention {
  int64_t query_heads = 0, kv_heads = 0, k_dim = 0, v_dim = 0;
  float scale = 1.0f;
  float softcap = 0.0f;  // 0: none
  int64_t window = 0;    // 0: none
  int64_t chunk = 0;     // 0: none
  // Keys are kept turned by a Hadamard matrix, so queries meet them turned; summaries of blocks are not turned.
  bool turned_keys = false;
  std::vector<float> sink_logits;
  std::vector<KvPart> parts;
  // Quest: read the top_blocks best blocks by their summaries; 0: read all.
  int64_t top_blocks = 0;
  int64_t summary_group = -1;
  Plane minimum{}, maximum{};
  OwnKeys* own_keys = nullptr;  // for parts with scales per channel

  int64_t group() const { return query_heads / kv_heads; }

  // Values in i4 are kept turned by a Hadamard matrix, which spreads numbers that stand out over all channels; sums of them
  // are turned back.
  bool turns_values() const { return !parts.empty() && parts.front().view.v_element == Element::i4; }
  // Turns `heads` heads of queries or keys, there or back.
  void turn_keys(const Kernels& kernels, int64_t heads, float* keys) const {
    for (int64_t head = 0; turned_keys && head < heads; ++head) kernels.hadamard(keys + head * k_dim, k_dim);
  }
  // The same of values.
  void turn_values(const Kernels& kernels, int64_t heads, float* values) const {
    for (int64_t head = 0; turns_values() && head < heads; ++head) kernels.hadamard(values + head * v_dim, v_dim);
  }

  // The positions of a part that a query at `position` reads: [first, second).
  std::pair<int64_t, int64_t> visible(const KvPart& part, int64_t position) const {
    int64_t low = part.skip_first;
    if (window > 0 && part.windowed) low = std::max(low, position - window + 1);
    if (chunk > 0) low = std::max(low, position - position % chunk);
    return {low, std::max(low, std::min(part.keep_first, position + 1))};
  }

  // Where the scales of a sequence and its exact keys from block index `own` on lie, for runs that begin at
  // `first_block`.
  ChannelBlocks channels(const KvPart& part, const SequenceStep& sequence, int64_t first_block, int64_t own) const {
    if (!part.by_channel()) return {nullptr, nullptr, -1};
    const Table& scales = sequence.tables[part.scale_group];
    return {scales.ids.data() + (first_block - scales.first), own_keys->block(sequence, own), own - first_block};
  }

  // The part's keys from position `low` to `high` - 1 of a sequence, as a query whose block has the index `own` sees
  // them.
  Run run(const KvPart& part, const SequenceStep& sequence, int64_t low, int64_t high, int64_t own) const {
    if (high <= low) return {nullptr, 0, 0, 0, {nullptr, nullptr, -1}};
    const Table& table = sequence.tables[part.group];
    const int64_t first = low / kBlockTokens, last = (high - 1) / kBlockTokens;
    return {table.ids.data() + (first - table.first), last - first + 1, low % kBlockTokens,
            (high - 1) % kBlockTokens + 1, channels(part, sequence, first, own)};
  }
};

}  // namespace windowtax
