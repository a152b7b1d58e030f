// Attention of one query position against a run of paged keys and values, for all query heads of one KV head.

#include "kernels/attention_piece.h"
#include "kernels/exp.h"
#include "kernels/parts.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

// Hands out parts of the scratch, each on a cache line; with a null base it only counts.
struct Carver {
  uint8_t* base;
  int64_t used;

  uint8_t* take(int64_t bytes) {
    uint8_t* part = base ? base + used : nullptr;
    used += (bytes + 63) / 64 * 64;
    return part;
  }
  float* floats(int64_t count) { return reinterpret_cast<float*>(take(4 * count)); }
};

Work carve(Carver& carver, int64_t k_dim, int64_t v_dim, int64_t group) {
  const int64_t heads = (group + kLanes - 1) / kLanes * kLanes;
  Work work = {};
  work.scores = carver.floats(group * kRowTokens);
  work.v_scales = carver.floats(kPieceTokens);
  work.v_middles = carver.floats(kPieceTokens);
  work.offsets = carver.floats(heads);
  work.old_factor = carver.floats(heads);
  work.new_factor = carver.floats(heads);
  work.m = carver.floats(heads);
  work.l = carver.floats(heads);
  work.high = carver.floats(heads);
  work.sum = carver.floats(heads);
  work.folded = carver.floats(group * (2 * k_dim + 64));  // score_blocks needs more than folding
  work.clean = carver.take(2 * element_bytes(Element::f32, v_dim));
#if defined(__AMX_TILE__)
  work.tiles = carver.take(tiles_bytes(k_dim, v_dim, group));
#endif
  return work;
}

int64_t decode_scratch(int64_t k_dim, int64_t v_dim, int64_t group) {
  Carver carver = {nullptr, 64};
  carve(carver, k_dim, v_dim, group);
  return carver.used;
}

// A copy of a block of values whose tokens outside [begin, end) are zero: their weight is zero, but 0 * NaN is not.
template <Element E>
void copy_clean(const uint8_t* from, int64_t dim, int64_t begin, int64_t end, uint8_t* to) {
  constexpr int64_t per = per_word(E), bits = 32 / per;
  for (int64_t group = 0; group < kBlockTokens / per; ++group) {
    uint32_t kept = 0;
    for (int64_t j = 0; j < per; ++j) {
      const int64_t token = group * per + j;
      if (token >= begin && token < end) kept |= (per == 1 ? ~0u : (1u << bits) - 1) << (bits * j);
    }
    for (int64_t c = 0; c < dim; ++c) {
      uint32_t word;
      std::memcpy(&word, from + (group * dim + c) * 4, 4);
      word &= kept;
      std::memcpy(to + (group * dim + c) * 4, &word, 4);
    }
  }
}

const uint8_t* clean_values(Element element, const uint8_t* from, int64_t dim, int64_t begin, int64_t end,
                            uint8_t* to) {
  if (has_token_scale(element)) return from;  // codes are finite whatever their bits
  choose(element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (!is_nibble(E)) copy_clean<E>(from, dim, begin, end, to);
  });
  return to;
}

// The piece of `run` that starts at its block `first`.
Piece piece_of(const KvView& view, int64_t head, const Run& run, int64_t first) {
  Piece piece = {};
  piece.blocks = run.count - first < kPieceBlocks ? run.count - first : kPieceBlocks;
  piece.tail = -1;
  piece.begin = first == 0 ? run.begin : 0;
  piece.end = piece.blocks * kBlockTokens - (first + piece.blocks == run.count ? kBlockTokens - run.end : 0);
  for (int64_t b = 0; b < piece.blocks; ++b) {
    const int64_t id = run.ids[first + b];
    piece.k[b] = view.k.base + id * view.k.block_bytes + head * element_bytes(view.k_element, view.k_dim);
    piece.v[b] = view.v.base + id * view.v.block_bytes + head * element_bytes(view.v_element, view.v_dim);
    if (has_token_scale(view.k_element)) {
      piece.k_scale[b] = view.k_scale.base + id * view.k_scale.block_bytes + head * 4 * kBlockTokens;
    }
    if (has_token_scale(view.v_element)) {
      piece.v_scale[b] = view.v_scale.base + id * view.v_scale.block_bytes + head * 4 * kBlockTokens;
    }
    if (view.k_element != Element::i4_channel) continue;
    if (first + b == run.channels.tail_block) {
      piece.tail = b;
      piece.k[b] = run.channels.tail + head * element_bytes(Element::bf16, view.k_dim);
    } else {
      piece.k_scale[b] = view.k_scale.base + run.channels.scale_ids[first + b] * view.k_scale.block_bytes +
                         head * scale_bytes(Element::i4_channel, view.k_dim);
    }
  }
  return piece;
}

// Keys first, since they are read first.
void look_ahead(const KvView& view, const Piece& next, Feed& feed) {
  feed.clear();
  for (int64_t b = 0; b < next.blocks; ++b) {
    feed.add(next.k[b], element_bytes(b == next.tail ? Element::bf16 : view.k_element, view.k_dim));
    if (next.k_scale[b]) feed.add(next.k_scale[b], scale_bytes(view.k_element, view.k_dim));
  }
  for (int64_t b = 0; b < next.blocks; ++b) {
    feed.add(next.v[b], element_bytes(view.v_element, view.v_dim));
    if (next.v_scale[b]) feed.add(next.v_scale[b], scale_bytes(view.v_element, view.v_dim));
  }
}

// Puts copies without the tokens that do not count in the place of the run's first and last block.
void clean_piece(const KvView& view, const Work& work, Piece& piece) {
  const int64_t last = piece.blocks - 1, left = piece.end - last * kBlockTokens;
  if (piece.begin > 0) {
    const int64_t end = last ? kBlockTokens : left;
    piece.v[0] = clean_values(view.v_element, piece.v[0], view.v_dim, piece.begin, end, work.clean);
  }
  if (left < kBlockTokens && (last > 0 || piece.begin == 0)) {
    piece.v[last] = clean_values(view.v_element, piece.v[last], view.v_dim, 0, left,
                                 work.clean + element_bytes(view.v_element, view.v_dim));
  }
}

// Which lanes of the vector at token `first` count.
Ints counted(const Piece& piece, int64_t first) {
  Ints token;
  for (int64_t i = 0; i < kLanes; ++i) token[i] = int32_t(first + i);
  return (token >= int32_t(piece.begin)) & (token < int32_t(piece.end));
}

void gather_scales(Element element, const Piece& piece, const Work& work) {
  for (int64_t t = 0; t < piece.tokens(); t += kLanes) {
    const uint8_t* from = piece.v_scale[t / kBlockTokens];
    const Floats scale = token_scales(element, from, t % kBlockTokens);
    store_floats(work.v_scales + t, piece.partial() ? (counted(piece, t) ? scale : Floats{}) : scale);
    if (element != Element::i4) continue;
    const Floats middle = token_middles(from, t % kBlockTokens);
    store_floats(work.v_middles + t, piece.partial() ? (counted(piece, t) ? middle : Floats{}) : middle);
  }
}

// i4: sum of p (scale * q + middle) = sum of (p * scale) q, as for other codes, and the same sum of p * middle for
// every channel. It is taken from the weights before `weigh` and added behind it.
void weigh_middles(const Piece& piece, int64_t group, const Work& work) {
  for (int64_t g = 0; g < group; ++g) {
    const float* row = work.scores + g * kRowTokens;
    Floats sum = {};
    for (int64_t t = 0; t < piece.tokens(); t += kLanes) sum += load_floats(row + t) * load_floats(work.v_middles + t);
    work.offsets[g] = sum_of_lanes(sum) * work.new_factor[g];
  }
}

void add_offsets(int64_t dim, int64_t group, const Work& work, float* o) {
  for (int64_t g = 0; g < group; ++g) {
    for (int64_t c = 0; c < dim; ++c) o[g * dim + c] += work.offsets[g];
  }
}

// Caps and masks the scores and finds each head's greatest.
void find_high(const Piece& piece, int64_t group, float softcap, const Work& work) {
  for (int64_t g = 0; g < group; ++g) {
    float* row = work.scores + g * kRowTokens;
    Floats high = all_lanes(-INFINITY);
    for (int64_t t = 0; t < piece.tokens(); t += kLanes) {
      Floats score = load_floats(row + t);
      if (softcap > 0) score = softcap_lanes(score, softcap);
      if (piece.partial()) score = counted(piece, t) ? score : all_lanes(-INFINITY);
      if (softcap > 0 || piece.partial()) store_floats(row + t, score);
      high = greater_lanes(score, high);
    }
    work.high[g] = greatest_of_lanes(high);
    piece.feed->some();
  }
}

// Scores to weights exp(score - high), and their sums.
void weights_of(const Piece& piece, int64_t group, const Work& work) {
  for (int64_t g = 0; g < group; ++g) {
    float* row = work.scores + g * kRowTokens;
    const float high = work.high[g] > -INFINITY ? work.high[g] : 0.0f;
    Floats sum = {};
    for (int64_t t = 0; t < piece.tokens(); t += kLanes) {
      const Floats weight = exp_lanes(load_floats(row + t) - high);
      store_floats(row + t, weight);
      sum += weight;
    }
    work.sum[g] = sum_of_lanes(sum);
    piece.feed->some();
  }
}

// Brings the sums m and l up to date; the factors for o are left in `work`. A head that has seen no finite score keeps
// m = -infinity, and its sums stay 0.
void merge(int64_t group, const Work& work) {
  for (int64_t g = 0; g < group; g += kLanes) {
    const Floats old_high = load_floats(work.m + g), new_high = load_floats(work.high + g);
    const Floats high = greater_lanes(old_high, new_high), base = high > -INFINITY ? high : Floats{};
    const Floats old_factor = exp_lanes(old_high - base), new_factor = exp_lanes(new_high - base);
    store_floats(work.old_factor + g, old_factor);
    store_floats(work.new_factor + g, new_factor);
    store_floats(work.m + g, high);
    store_floats(work.l + g, load_floats(work.l + g) * old_factor + load_floats(work.sum + g) * new_factor);
  }
}

// The two steps that read keys and values, by tiles where the level has them and they take the elements.
class Reader {
 public:
  Reader(const KvView& view, const float* q, int64_t group, const Work& work)
      : view_(view), q_(q), group_(group), work_(work) {
#if defined(__AMX_TILE__)
    tile_keys_ = tiles_take_keys(view.k_element, view.k_dim);
    tile_values_ = tiles_take_values(view.v_element, view.v_dim);
    if (tile_keys_) ready_tiles(view, q, group, work);
    if (tile_keys_ || tile_values_) begin_tiles(group);
#endif
  }
  ~Reader() {
#if defined(__AMX_TILE__)
    if (tile_keys_ || tile_values_) end_tiles();
#endif
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  void score(const Piece& piece) const {
#if defined(__AMX_TILE__)
    if (tile_keys_) return score_tiles(view_, piece, q_, group_, work_);
#endif
    for (int64_t b = 0; b < piece.blocks; ++b) {
      piece.feed->some();
      score_lanes(b == piece.tail ? Element::bf16 : view_.k_element, piece.k[b], piece.k_scale[b], view_.k_dim, q_,
                  group_, work_.folded, work_.scores + b * kBlockTokens);
    }
  }

  void weigh(const Piece& piece, float* o) const {
#if defined(__AMX_TILE__)
    if (tile_values_) return weigh_tiles(view_, piece, group_, work_, o);
#endif
    weigh_lanes(view_.v_element, piece, view_.v_dim, group_, work_, o);
  }

 private:
  const KvView& view_;
  const float* q_;
  int64_t group_;
  const Work& work_;
#if defined(__AMX_TILE__)
  bool tile_keys_, tile_values_;
#endif
};

// How often the steps of a piece ask the feed for some: about once in 50 ns.
int64_t points_of(const KvView& view, const Piece& piece, int64_t group) {
  return piece.blocks * ((view.k_dim + 31) / 32 + (view.v_dim + 15) / 16 + 2) + 4 * group;
}

void attend_run(const KvView& view, int64_t head, const float* q, int64_t group, const Run& run, float softcap,
                const Softmax& state, void* scratch) {
  Carver carver = {static_cast<uint8_t*>(scratch), -reinterpret_cast<intptr_t>(scratch) & 63};
  const Work work = carve(carver, view.k_dim, view.v_dim, group);
  Piece next = piece_of(view, head, run, 0);
  Feed feed;
  look_ahead(view, next, feed);  // nobody fetched the first piece
  feed.rest();
  const Reader reader(view, q, group, work);
  std::memcpy(work.m, state.m, size_t(group) * 4);
  std::memcpy(work.l, state.l, size_t(group) * 4);
  for (int64_t first = 0; first < run.count; first += kPieceBlocks) {
    Piece piece = next;
    next = piece_of(view, head, run, first + kPieceBlocks);
    if (piece.begin >= piece.end) continue;
    look_ahead(view, next, feed);
    feed.deal(points_of(view, piece, group));
    piece.feed = &feed;
    if (piece.partial()) clean_piece(view, work, piece);
    reader.score(piece);
    find_high(piece, group, softcap, work);
    weights_of(piece, group, work);
    merge(group, work);
    if (has_token_scale(view.v_element)) gather_scales(view.v_element, piece, work);
    const bool middles = view.v_element == Element::i4;
    if (middles) weigh_middles(piece, group, work);
    reader.weigh(piece, state.o);
    if (middles) add_offsets(view.v_dim, group, work, state.o);
    feed.rest();
  }
  std::memcpy(state.m, work.m, size_t(group) * 4);
  std::memcpy(state.l, work.l, size_t(group) * 4);
}

}  // namespace

void add_decode(Kernels& table) {
  table.decode_scratch = decode_scratch;
  table.attend_run = attend_run;
}

WINDOWTAX_END_LEVEL
