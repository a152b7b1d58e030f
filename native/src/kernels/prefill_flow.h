// The order of work of prefill attention on AMX tiles: which batches there are, their way through the stages, and the
// reference scores of the rows.

#pragma once

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

// base is an integer, so that both forms of weigh_rows agree on it, and the reference is what base says.
void set_reference(const Work& w, int64_t row, float score) {
  w.base[row] = __builtin_rintf(kOneBits - kLog2 * score);
  w.shifted[row] = w.base[row] + kGreat;
  w.reference[row] = (kOneBits - w.base[row]) / kLog2;
}

// Scores of one block for one unit of rows, outside of the flow.
const float* scores_beside(const Work& w, int64_t unit, int64_t block, int64_t nth) {
  float* const scores = w.scores + (2 + nth) * kUnitFloats;
  Unstored unstored = {nullptr, nullptr};
  run_scores<0>(w, scoring_of(w, unit, block, scores), unstored, [] {});
  store_rest(unstored);
  if (w.tile->softcap > 0) cap_scores(scores, w.tile->softcap);
  return scores;
}

// A batch whose scores rose far above the reference: a new reference for its rows, and their sums and outputs in its
// terms; then its weights once more.
void settle(const Work& w, const Batch& batch, int64_t parity) {
  const int64_t first = batch.unit * kUnitRows;
  float* const outputs = w.outputs + first * w.columns * 16;
  for (int64_t b = 0; b < batch.count; ++b) scores_beside(w, batch.unit, batch.block + b, b);
  for (int64_t r = 0; r < kUnitRows; ++r) {
    const float before = w.reference[first + r];
    float greatest = before;
    for (int64_t b = 0; b < batch.count; ++b) {
      const uint32_t mask = seen(w.low + first, w.high + first, r, static_cast<int32_t>(32 * (batch.block + b)));
      const float now = greatest_seen(w.scores + (2 + b) * kUnitFloats, r, mask);
      if (now > greatest) greatest = now;
    }
    if (!(greatest > before)) continue;
    set_reference(w, first + r, greatest);
    const float factor = exp_one(before - w.reference[first + r]);
    for (int64_t c = 0; c < w.columns; ++c) {
      float* const out = outputs + (c * kUnitRows + r) * 16;
      store_floats(out, load_floats(out) * factor);
    }
  }
  for (int64_t b = 0; b < batch.count; ++b) {
    weigh_rows<true>(weighing_of(w, batch, b, w.scores + (2 + b) * kUnitFloats, parity), 0, kUnitRows,
                     _mm512_setzero_si512());
  }
}

void fetch(Ahead& ahead) {
  if (ahead.block >= ahead.end) return;
  const KvView& view = *ahead.part->view;
  const uint8_t* lines = ahead.at < ahead.key_bytes
                             ? head_of(view.k, ahead.part->ids[ahead.block], ahead.head, ahead.key_bytes) + ahead.at
                             : head_of(view.v, ahead.part->ids[ahead.block], ahead.head, ahead.value_bytes) +
                                   (ahead.at - ahead.key_bytes);
  for (int64_t i = 0; i < ahead.bytes; i += kAheadBytes) {
    unroll<kAheadBytes / 64>([&](int64_t line) {
      _mm_prefetch(reinterpret_cast<const char*>(lines + i + line * 64), _MM_HINT_T1);
    });
  }
  ahead.at += ahead.bytes;
  if (ahead.at < ahead.key_bytes + ahead.value_bytes) return;
  ahead.at = 0;
  ++ahead.block;
}

// The scores that follow those of batch i's block b.
Scoring after(const Work& w, int64_t count, int64_t i, int64_t b, float* room) {
  const Batch& batch = w.batches[i];
  if (b + 1 < batch.count) return scoring_of(w, batch.unit, batch.block + b + 1, room);
  if (i + 1 < count) return scoring_of(w, w.batches[i + 1].unit, w.batches[i + 1].block, room);
  return {nullptr, nullptr, nullptr};
}

// Batch i, stage by stage. turn: which of the two buffers has its first scores.
__m512i run_batch(const Work& w, int64_t count, int64_t i, int64_t& turn, Unstored& unstored, Ahead& ahead) {
  const Batch& batch = w.batches[i];
  __m512i peak = _mm512_setzero_si512();
  for (int64_t b = 0; b < batch.count; ++b, turn ^= 1) {
    float* const scores = w.scores + turn * kUnitFloats;
    const Scoring next = after(w, count, i, b, w.scores + (turn ^ 1) * kUnitFloats);
    Mixing mixing = {nullptr, nullptr, 0, nullptr, 0, 0};
    if (i > 0) {
      mixing = mixing_of(w, w.batches[i - 1], (i - 1) & 1);
      share_columns(w, mixing, b, batch.count);
    }
    fetch(ahead);
    if (w.tile->softcap > 0) {
      store_rest(unstored);
      cap_scores(scores, w.tile->softcap);
    }
    const Weighing weighing = weighing_of(w, batch, b, scores, i & 1);
    peak = _mm512_or_si512(peak, batch.cut ? run_stage<true>(w, next, weighing, mixing, unstored)
                                           : run_stage<false>(w, next, weighing, mixing, unstored));
  }
  return peak;
}

// Whether run_usual takes batch i.
bool is_usual(const Work& w, int64_t count, int64_t i) {
  return is_usual(w) && i > 0 && i + 1 < count && !w.batches[i].cut && w.batches[i].count == kBatchBlocks &&
         w.batches[i - 1].count == kBatchBlocks && w.tile->softcap == 0;
}

__m512i run_usual(const Work& w, int64_t count, int64_t i, int64_t turn, Unstored& unstored, Ahead& ahead) {
  float* const even = w.scores + turn * kUnitFloats;
  float* const odd = w.scores + (turn ^ 1) * kUnitFloats;
  UsualBatch batch;
  for (int64_t b = 0; b < kBatchBlocks; ++b) batch.next[b] = after(w, count, i, b, b % 2 ? even : odd);
  batch.weighing = weighing_of(w, w.batches[i], 0, even, i & 1);
  batch.scores[0] = even;
  batch.scores[1] = odd;
  batch.mixing = mixing_of(w, w.batches[i - 1], (i - 1) & 1);
  return run_usual(w, batch, unstored, [&] { fetch(ahead); });
}

// All batches of a stretch.
void flow(const Work& w, int64_t count, Ahead ahead) {
  if (!count) return;
  Unstored unstored = {nullptr, nullptr};
  run_scores<0>(w, scoring_of(w, w.batches[0].unit, w.batches[0].block, w.scores), unstored, [] {});
  store_rest(unstored);
  int64_t turn = 0;
  for (int64_t i = 0; i < count; ++i) {
    const __m512i peak = is_usual(w, count, i) ? run_usual(w, count, i, turn, unstored, ahead)
                                               : run_batch(w, count, i, turn, unstored, ahead);
    if (passes(peak)) {
      store_rest(unstored);
      settle(w, w.batches[i], i & 1);
    }
  }
  run_outputs(w, mixing_of(w, w.batches[count - 1], (count - 1) & 1), unstored, [] {});
  store_rest(unstored);
}

// Whether some row of the unit has no reference yet.
bool misses_reference(const Work& w, int64_t unit) {
  const float* reference = w.reference + unit * kUnitRows;
  const __m512 none = _mm512_set1_ps(-INFINITY);
  return _mm512_cmp_ps_mask(_mm512_loadu_ps(reference), none, _CMP_EQ_OQ) |
         _mm512_cmp_ps_mask(_mm512_loadu_ps(reference + 16), none, _CMP_EQ_OQ);
}

// The reference of rows that have none: the greatest score among the first keys that they see.
void find_references(const Work& w, int64_t unit, int64_t begin, int64_t end) {
  const int64_t first = unit * kUnitRows;
  for (int64_t block = begin; block < end; ++block) {
    if (!misses_reference(w, unit)) return;
    const float* scores = scores_beside(w, unit, block, 0);
    for (int64_t r = 0; r < kUnitRows; ++r) {
      if (w.reference[first + r] != -INFINITY) continue;
      const float found =
          greatest_seen(scores, r, seen(w.low + first, w.high + first, r, static_cast<int32_t>(32 * block)));
      if (found != -INFINITY) set_reference(w, first + r, found);
    }
  }
}

// The stretch of blocks begin ... end - 1 of a part; low and high count from the stretch's first token.
void run_stretch(const Work& w, int64_t blocks, const Ahead& ahead) {
  int64_t count = 0;
  for (int64_t unit = 0; unit < w.units; ++unit) {
    const int32_t* low = w.low + unit * kUnitRows;
    const int32_t* high = w.high + unit * kUnitRows;
    const int64_t begin = greater(low[0], 0) / kBlockTokens;
    const int64_t end = lesser(blocks, (greater(high[kUnitRows - 1], 0) + kBlockTokens - 1) / kBlockTokens);
    find_references(w, unit, begin, end);
    for (int64_t block = begin; block < end; block += kBatchBlocks) {
      const int64_t size = lesser(kBatchBlocks, end - block);
      const bool cut = low[kUnitRows - 1] > block * kBlockTokens || high[0] < (block + size) * kBlockTokens;
      w.batches[count++] = {static_cast<int32_t>(unit), static_cast<int32_t>(block), static_cast<int32_t>(size), cut};
    }
  }
  flow(w, count, ahead);
}

// So many bytes at a time that the units of rows together reach all of the next stretch; a power of two, because those
// mostly end where keys and values do.
Ahead ahead_of(const Work& w, const TilePart& part) {
  const int64_t key_bytes = element_bytes(part.view->k_element, w.k_dim);
  const int64_t value_bytes = element_bytes(part.view->v_element, w.v_dim);
  int64_t bytes = kAheadBytes;
  while (bytes * w.units < key_bytes + value_bytes) bytes *= 2;
  return {&part, 0, 0, w.tile->head, 0, key_bytes, value_bytes, bytes};
}

void run_part(const Work& w, const TilePart& part) {
  const Span span = tile_span(*w.tile, part);
  if (span.high <= span.low) return;
  const int64_t end = (span.high - part.first + kBlockTokens - 1) / kBlockTokens, rows = w.units * kUnitRows;
  for (int64_t row = 0; row < rows; ++row) {
    const Span sees = visible(part, w.tile->start + lesser(row, w.rows - 1) / w.tile->group);
    const int64_t most = end * kBlockTokens;
    w.sees_low[row] = static_cast<int32_t>(greater(0, lesser(most, sees.low - part.first)));
    w.sees_high[row] = static_cast<int32_t>(greater(0, lesser(most, sees.high - part.first)));
  }
  Ahead ahead = ahead_of(w, part);
  for (int64_t begin = (span.low - part.first) / kBlockTokens; begin < end; begin += kStretch) {
    const int64_t blocks = lesser(kStretch, end - begin);
    for (int64_t i = 0; i < blocks; ++i) put_block(w, part, span, begin + i, i);
    const auto most = static_cast<int32_t>(blocks * kBlockTokens), origin = static_cast<int32_t>(begin * kBlockTokens);
    for (int64_t row = 0; row < rows; ++row) {
      const int32_t low = w.sees_low[row] - origin, high = w.sees_high[row] - origin;
      w.low[row] = low < 0 ? 0 : low > most ? most : low;
      w.high[row] = high < 0 ? 0 : high > most ? most : high;
    }
    ahead.block = begin + kStretch;
    ahead.end = lesser(end, begin + 2 * kStretch);
    run_stretch(w, blocks, ahead);
  }
}

constexpr int64_t kFinishAhead = 8;    // tokens
constexpr int64_t kTileNumbers = 512;  // of a tile of ready rows

// Row `row` of the outputs, which is of query head g of its group, divided by the sum of its weights. put(c, x) takes
// sixteen from column c on.
template <typename Put>
inline void finish_row(const Work& w, int64_t row, int64_t g, const Put& put) {
  const Tile& tile = *w.tile;
  const float* from = w.outputs + row / kUnitRows * kUnitRows * w.columns * 16 + row % kUnitRows * 16;
  float sum = from[(w.columns - 1) * kUnitRows * 16];
  const bool sees = sum > 0;
  if (tile.sink_logits) sum += kOne * exp_one(tile.sink_logits[g] - w.reference[row]);
  const __m512 factor = _mm512_set1_ps(sees ? 1.0f / sum : 0.0f);
  for (int64_t c = 0; c < w.v_dim; c += 16, from += kUnitRows * 16) {
    put(c, _mm512_mul_ps(_mm512_loadu_ps(from), factor));
  }
}

// Outputs as rows of tiles for the product that follows.
void finish_ready(const Work& w) {
  const Tile& tile = *w.tile;
  const auto place = [&tile](int64_t token, int64_t column) {
    return tile.ready[token] + column / kGroup * kTileNumbers + column % kGroup;
  };
  int64_t row = 0;
  for (int64_t token = 0; token < tile.tokens; ++token) {
    const int64_t first = tile.ready_column, ahead = lesser(token + kFinishAhead, tile.tokens - 1);
    for (int64_t c = 0; c < tile.group * w.v_dim; c += kGroup) {
      _mm_prefetch(reinterpret_cast<const char*>(place(ahead, first + c)), _MM_HINT_ET0);
    }
    for (int64_t g = 0; g < tile.group; ++g) {
      finish_row(w, row++, g, [&](int64_t c, __m512 x) {
        const __m256bh codes = _mm512_cvtneps_pbh(x);
        std::memcpy(place(token, first + g * w.v_dim + c), &codes, sizeof codes);
      });
    }
  }
}

void finish_floats(const Work& w) {
  const Tile& tile = *w.tile;
  int64_t row = 0;
  for (int64_t token = 0; token < tile.tokens; ++token) {
    float* out = tile.out + token * tile.out_stride;
    // Rows of a tile lie far apart, and nobody has them in a cache.
    const char* ahead = reinterpret_cast<const char*>(out + kFinishAhead * tile.out_stride);
    for (int64_t at = 0; at < tile.group * w.v_dim * 4; at += 64) _mm_prefetch(ahead + at, _MM_HINT_ET0);
    for (int64_t g = 0; g < tile.group; ++g, out += w.v_dim) {
      finish_row(w, row++, g, [&](int64_t c, __m512 x) {
        _mm512_mask_storeu_ps(out + c, static_cast<__mmask16>((1u << lesser(16, w.v_dim - c)) - 1), x);
      });
    }
  }
}

void attend_amx(const Tile& tile, void* scratch) {
  const KvView& view = *tile.parts[0].view;
  Work w;
  w.tile = &tile;
  lay_out(w, tile.tokens * tile.group, view.k_dim, view.v_dim, static_cast<uint8_t*>(scratch));
  const int64_t padded = w.units * kUnitRows;
  put_queries(w);
  std::memset(w.outputs, 0, padded * w.columns * 64);
  for (int64_t row = 0; row < padded; ++row) {
    w.reference[row] = -INFINITY;
    w.base[row] = 0;
    w.shifted[row] = kGreat;
  }
  tiles_on();
  for (int64_t p = 0; p < tile.num_parts; ++p) run_part(w, tile.parts[p]);
  tiles_off();
  tile.ready ? finish_ready(w) : finish_floats(w);
}

}  // namespace
WINDOWTAX_END_LEVEL

#endif
