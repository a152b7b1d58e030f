// Attention of one query position against a run of paged keys and values, for all query heads of one KV head.

#include "kernels/decode_tiles.h"
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

Work carve(Carver& carver, int64_t k_dim, int64_t v_dim, int64_t heads, int64_t group) {
  const int64_t rows = heads * group, padded = (rows + kLanes - 1) / kLanes * kLanes;
  Work work = {};
  work.heads = heads;
  work.scores = carver.floats(rows * kRowTokens);
  work.v_scales = carver.floats(heads * kPieceTokens);
  work.v_middles = carver.floats(heads * kPieceTokens);
  work.offsets = carver.floats(padded);
  work.old_factor = carver.floats(padded);
  work.new_factor = carver.floats(padded);
  work.m = carver.floats(padded);
  work.l = carver.floats(padded);
  work.high = carver.floats(padded);
  work.sum = carver.floats(padded);
  work.folded = carver.floats(group * (k_dim + 1));
  work.clean = carver.take(2 * heads * element_bytes(Element::f32, v_dim));
#if defined(__AMX_TILE__)
  work.tiles = carver.take(tiles_bytes(k_dim, v_dim, heads, group));
#endif
  return work;
}

int64_t decode_scratch(int64_t k_dim, int64_t v_dim, int64_t heads, int64_t group) {
  Carver carver = {nullptr, 64};
  carve(carver, k_dim, v_dim, heads, group);
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

// The same for a block of all heads of a span; codes with a scale are finite whatever their bits.
const uint8_t* clean_values(Element element, const uint8_t* from, int64_t heads, int64_t dim, int64_t begin,
                            int64_t end, uint8_t* to) {
  if (has_token_scale(element)) return from;
  choose(element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    const int64_t bytes = element_bytes(E, dim);
    for (int64_t h = 0; !is_nibble(E) && h < heads; ++h) copy_clean<E>(from + h * bytes, dim, begin, end, to + h * bytes);
  });
  return to;
}

// Where the blocks of a run lie, by their index in it.
struct Source {
  const KvView& view;
  const Run& run;
  int64_t k_bytes, v_bytes, tail_bytes, k_scale_bytes, v_scale_bytes;  // of one head in one block

  Source(const KvView& view, const Run& run)
      : view(view),
        run(run),
        k_bytes(element_bytes(view.k_element, view.k_dim)),
        v_bytes(element_bytes(view.v_element, view.v_dim)),
        tail_bytes(element_bytes(Element::bf16, view.k_dim)),
        k_scale_bytes(scale_bytes(view.k_element, view.k_dim)),
        v_scale_bytes(scale_bytes(view.v_element, view.v_dim)) {}

  bool in_tail(int64_t i) const { return view.k_element == Element::i4_channel && i == run.channels.tail_block; }
  int64_t key_bytes(int64_t i) const { return in_tail(i) ? tail_bytes : k_bytes; }
  const uint8_t* keys(int64_t i, int64_t head) const {
    if (in_tail(i)) return run.channels.tail + head * tail_bytes;
    return view.k.base + run.ids[i] * view.k.block_bytes + head * k_bytes;
  }
  const uint8_t* values(int64_t i, int64_t head) const {
    return view.v.base + run.ids[i] * view.v.block_bytes + head * v_bytes;
  }
  bool has_key_scales(int64_t i) const { return k_scale_bytes > 0 && !in_tail(i); }
  const uint8_t* key_scales(int64_t i, int64_t head) const {
    const int64_t id = view.k_element == Element::i4_channel ? run.channels.scale_ids[i] : run.ids[i];
    return view.k_scale.base + id * view.k_scale.block_bytes + head * k_scale_bytes;
  }
  const uint8_t* value_scales(int64_t i, int64_t head) const {
    return view.v_scale.base + run.ids[i] * view.v_scale.block_bytes + head * v_scale_bytes;
  }
};

// Blocks first ... first + blocks - 1 of the run.
Piece piece_of(const Source& source, const HeadSpan& heads, int64_t first, int64_t blocks, Feed& feed) {
  const Run& run = source.run;
  Piece piece = {};
  piece.blocks = blocks;
  piece.begin = first == 0 ? run.begin : 0;
  piece.end = blocks * kBlockTokens - (first + blocks == run.count ? kBlockTokens - run.end : 0);
  piece.k_step = source.k_bytes;
  piece.tail_step = source.tail_bytes;
  piece.k_scale_step = source.k_scale_bytes;
  piece.v_step = source.v_bytes;
  piece.v_scale_step = source.v_scale_bytes;
  piece.tail = -1;
  piece.feed = &feed;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t i = first + b;
    if (source.in_tail(i)) piece.tail = b;
    piece.k[b] = source.keys(i, heads.first);
    piece.v[b] = source.values(i, heads.first);
    if (source.has_key_scales(i)) piece.k_scale[b] = source.key_scales(i, heads.first);
    if (source.v_scale_bytes > 0) piece.v_scale[b] = source.value_scales(i, heads.first);
  }
  return piece;
}

void add_keys(const Source& source, const HeadSpan& heads, int64_t first, int64_t blocks, Feed& feed) {
  for (int64_t i = first; i < first + blocks; ++i) {
    feed.add(source.keys(i, heads.first), heads.count * source.key_bytes(i));
    if (source.has_key_scales(i)) feed.add(source.key_scales(i, heads.first), heads.count * source.k_scale_bytes);
  }
}

void add_values(const Source& source, const HeadSpan& heads, int64_t first, int64_t blocks, Feed& feed) {
  for (int64_t i = first; i < first + blocks; ++i) {
    feed.add(source.values(i, heads.first), heads.count * source.v_bytes);
    if (source.v_scale_bytes > 0) feed.add(source.value_scales(i, heads.first), heads.count * source.v_scale_bytes);
  }
}

// Puts copies without the tokens that do not count in the place of the run's first and last block.
void clean_piece(const KvView& view, const HeadSpan& heads, const Work& work, Piece& piece) {
  const int64_t last = piece.blocks - 1, left = piece.end - last * kBlockTokens;
  if (piece.begin > 0) {
    const int64_t end = last ? kBlockTokens : left;
    piece.v[0] = clean_values(view.v_element, piece.v[0], heads.count, view.v_dim, piece.begin, end, work.clean);
  }
  if (left < kBlockTokens && (last > 0 || piece.begin == 0)) {
    piece.v[last] = clean_values(view.v_element, piece.v[last], heads.count, view.v_dim, 0, left,
                                 work.clean + heads.count * element_bytes(view.v_element, view.v_dim));
  }
}

// Which lanes of the vector at token `first` count.
Ints counted(const Piece& piece, int64_t first) {
  Ints token;
  for (int64_t i = 0; i < kLanes; ++i) token[i] = int32_t(first + i);
  return (token >= int32_t(piece.begin)) & (token < int32_t(piece.end));
}

// The values' scales, and of i4 their middles, token by token; 0 where a token does not count.
template <Element E, bool kPartial>
void gather_scales(const Piece& piece, int64_t heads, const Work& work) {
  const auto keep = [&](Floats x, int64_t token) { return kPartial ? (counted(piece, token) ? x : Floats{}) : x; };
  for (int64_t h = 0; h < heads; ++h) {
    float *scales = work.v_scales + h * kPieceTokens, *middles = work.v_middles + h * kPieceTokens;
    for (int64_t b = 0; b < piece.blocks; ++b) {
      const uint8_t* from = piece.value_scales(h, b);
      for (int64_t i = 0; i < kBlockTokens; i += kLanes) {
        const int64_t token = b * kBlockTokens + i;
        store_floats(scales + token, keep(token_scales(E, from, i), token));
        if constexpr (E == Element::i4) store_floats(middles + token, keep(token_middles(from, i), token));
      }
    }
  }
}

void gather_scales(Element element, const Piece& piece, int64_t heads, const Work& work) {
  choose(element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (has_token_scale(E)) {
      if (piece.partial()) gather_scales<E, true>(piece, heads, work);
      if (!piece.partial()) gather_scales<E, false>(piece, heads, work);
    }
  });
}

// i4: sum of p (scale * q + middle) = sum of (p * scale) q, as for other codes, and the same sum of p * middle for
// every channel. It is taken from the weights before `weigh` and added behind it.
void weigh_middles(const Piece& piece, int64_t group, const Work& work) {
  for (int64_t g = 0; g < group; ++g) {
    const float* row = work.scores + g * kRowTokens;
    Floats sum = {};
    for (int64_t t = 0; t < piece.tokens(); t += kLanes) sum += load_floats(row + t) * load_floats(work.v_middles + t);
    work.offsets[g] = sum_of_lanes(sum);
  }
}

void add_offsets(int64_t dim, int64_t group, const Work& work, float* o) {
  for (int64_t g = 0; g < group; ++g) {
    const float offset = work.offsets[g] * work.new_factor[g];
    for (int64_t c = 0; c < dim; ++c) o[g * dim + c] += offset;
  }
}

void cap_scores(const Piece& piece, int64_t rows, float softcap, const Work& work) {
  for (int64_t g = 0; g < rows; ++g) {
    float* row = work.scores + g * kRowTokens;
    for (int64_t t = 0; t < piece.tokens(); t += kLanes) store_floats(row + t, softcap_lanes(load_floats(row + t), softcap));
  }
}

void mask_scores(const Piece& piece, int64_t rows, const Work& work) {
  for (int64_t t = 0; t < piece.tokens(); t += kLanes) {
    const Ints counts = counted(piece, t);
    for (int64_t g = 0; g < rows; ++g) {
      float* row = work.scores + g * kRowTokens;
      store_floats(row + t, counts ? load_floats(row + t) : all_lanes(-INFINITY));
    }
  }
}

// Scores to weights exp(score - high), high being each head's greatest score, and their sums. kBlocks: of the piece.
template <int64_t kBlocks>
void weights_of(int64_t rows, const Work& work, Feed& feed) {
  constexpr int64_t kTokens = kBlocks * kBlockTokens;
  for (int64_t g = 0; g < rows; ++g) {
    const float* row = work.scores + g * kRowTokens;
    Floats high = load_floats(row);
    for (int64_t t = kLanes; t < kTokens; t += kLanes) high = greater_lanes(load_floats(row + t), high);
    work.high[g] = greatest_of_lanes(high);
    feed.some();
  }
  for (int64_t g = 0; g < rows; ++g) {
    float* row = work.scores + g * kRowTokens;
    const Floats high = all_lanes(work.high[g] > -INFINITY ? work.high[g] : 0.0f);
    Floats sum = {};
    for (int64_t t = 0; t < kTokens; t += kLanes) {
      const Floats weight = exp_falling(load_floats(row + t) - high);
      store_floats(row + t, weight);
      sum += weight;
    }
    work.sum[g] = sum_of_lanes(sum);
    feed.some();
  }
}

void weights_of(const Piece& piece, int64_t rows, float softcap, const Work& work) {
  if (softcap > 0) cap_scores(piece, rows, softcap, work);
  if (piece.partial()) mask_scores(piece, rows, work);
  choose_blocks(piece.blocks, [&](auto blocks) { weights_of<decltype(blocks)::value>(rows, work, *piece.feed); });
}

// Brings the sums m and l up to date; the factors for o are left in `work`. A head that has seen no finite score keeps
// m = -infinity, and its sums stay 0.
void merge(int64_t rows, const Work& work) {
  for (int64_t g = 0; g < rows; g += kLanes) {
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
  Reader(const KvView& view, const float* q, const HeadSpan& heads, const Work& work)
      : view_(view), q_(q), heads_(heads), work_(work) {
#if defined(__AMX_TILE__)
    tiles_ = Tiles::at(work.tiles, view.k_dim, view.v_dim, heads.count, heads.group);
    tile_keys_ = tiles_take_keys(view.k_element, view.k_dim);
    tile_values_ = tiles_take_values(view.v_element, view.v_dim);
    if (tile_keys_) ready_queries(view, q, heads, tiles_);
    if (tile_keys_ || tile_values_) begin_tiles(heads.group);
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
    if (tile_keys_) {
#if defined(__AMX_TILE__)
      score_tiles(view_, piece, q_, heads_, tiles_, work_.scores);
#endif
      return;
    }
    for (int64_t h = 0; h < heads_.count; ++h) {
      const Work work = work_.of(h, heads_.group);
      for (int64_t b = 0; b < piece.blocks; ++b) {
        piece.feed->some();
        score_lanes(b == piece.tail ? Element::bf16 : view_.k_element, piece.keys(h, b), piece.key_scales(h, b),
                    view_.k_dim, q_ + h * heads_.group * view_.k_dim, heads_.group, work.folded,
                    work.scores + b * kBlockTokens);
      }
    }
  }

  void weigh(const Piece& piece, float* o) const {
    gather_scales(view_.v_element, piece, heads_.count, work_);
    if (tile_values_) {
#if defined(__AMX_TILE__)
      weigh_tiles(view_, piece, heads_, work_, tiles_, o);
#endif
      return;
    }
    const bool middles = view_.v_element == Element::i4;
    for (int64_t h = 0; h < heads_.count; ++h, o += heads_.group * view_.v_dim) {
      const Work work = work_.of(h, heads_.group);
      if (middles) weigh_middles(piece, heads_.group, work);
      weigh_lanes(view_.v_element, piece, h, view_.v_dim, heads_.group, work, o);
      if (middles) add_offsets(view_.v_dim, heads_.group, work, o);
    }
  }

 private:
  const KvView& view_;
  const float* q_;
  const HeadSpan& heads_;
  const Work& work_;
  bool tile_keys_ = false, tile_values_ = false;
#if defined(__AMX_TILE__)
  Tiles tiles_;
#endif
};

// How often the steps of a piece ask the feed for some: about once in 50 ns.
int64_t points_of(const KvView& view, int64_t blocks, const HeadSpan& heads) {
  return heads.count * (blocks * ((view.k_dim + 31) / 32 + (view.v_dim + 15) / 16 + 2) + 4 * heads.group);
}

void attend_run(const KvView& view, const HeadSpan& heads, const float* q, const Run& run, float softcap,
                const Softmax& state, void* scratch) {
  if (run.count == 0) return;
  Carver carver = {static_cast<uint8_t*>(scratch), -reinterpret_cast<intptr_t>(scratch) & 63};
  const Work work = carve(carver, view.k_dim, view.v_dim, heads.count, heads.group);
  const Source source(view, run);
  const int64_t known = run.count + run.more, rows = heads.rows();
  const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
  Feed feed;
  // Nobody may have fetched the first piece: its keys are asked for at once, its values with the piece behind it.
  int64_t blocks = least(kPieceBlocks, run.count);
  feed.clear();
  add_keys(source, heads, 0, blocks, feed);
  feed.deal(1);
  feed.rest();
  const Reader reader(view, q, heads, work);
  std::memcpy(work.m, state.m, size_t(rows) * 4);
  std::memcpy(work.l, state.l, size_t(rows) * 4);
  for (int64_t first = 0; first < run.count; first += blocks, blocks = least(kPieceBlocks, run.count - first)) {
    feed.clear();
    if (first == 0) add_values(source, heads, 0, blocks, feed);
    const int64_t then = first + blocks, some = least(kPieceBlocks, known - then);
    add_keys(source, heads, then, some, feed);
    add_values(source, heads, then, some, feed);
    feed.deal(points_of(view, blocks, heads));
    Piece piece = piece_of(source, heads, first, blocks, feed);
    if (piece.begin >= piece.end) continue;
    reader.score(piece);
    weights_of(piece, rows, softcap, work);
    merge(rows, work);
    if (piece.partial()) clean_piece(view, heads, work, piece);
    reader.weigh(piece, state.o);
    feed.rest();
  }
  std::memcpy(state.m, work.m, size_t(rows) * 4);
  std::memcpy(state.l, work.l, size_t(rows) * 4);
}

}  // namespace

void add_decode(Kernels& table) {
  table.decode_scratch = decode_scratch;
  table.attend_run = attend_run;
}

WINDOWTAX_END_LEVEL
