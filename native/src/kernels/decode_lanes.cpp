// Scores and weighted values in float32: one vector load of codes, widened, serves all query heads of the group.

#include "kernels/attention_piece.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

constexpr int64_t kHeads = 4;  // query heads whose sums are in registers at a time

// Scores of 16 tokens (one row of lanes) for N heads.
template <Element E, int64_t N>
void score_half(const uint8_t* rows, int64_t dim, int64_t half, const float* q, float* scores) {
  constexpr int64_t per = per_word(E);
  for (int64_t lane = 0; lane < kHalf; lane += kLanes) {
    Floats sums[N][2] = {};
    const uint8_t* from = rows + lane * 4;
    for (int64_t c = 0; c < dim; c += per, from += kRowBytes) {
      const Words word = load_words(from);
      for (int64_t j = 0; j < per; ++j) {
        const Floats key = number_of<E>(word, int(j), int(half));
        for (int64_t n = 0; n < N; ++n) sums[n][j % 2] += key * q[n * dim + c + j];
      }
    }
    for (int64_t n = 0; n < N; ++n) store_floats(scores + n * kRowTokens + lane, sums[n][0] + sums[n][1]);
  }
}

// q times the channels' scales, and q . least per head behind them.
void fold_channels(const uint8_t* scales, int64_t dim, const float* q, int64_t group, float* folded) {
  const uint16_t* codes = reinterpret_cast<const uint16_t*>(scales);
  for (int64_t g = 0; g < group; ++g) folded[group * dim + g] = 0;
  for (int64_t c = 0; c < dim; ++c) {
    const float scale = from_f16(Words{} + codes[c])[0], least = from_f16(Words{} + codes[dim + c])[0];
    for (int64_t g = 0; g < group; ++g) {
      folded[g * dim + c] = q[g * dim + c] * scale;
      folded[group * dim + g] += q[g * dim + c] * least;
    }
  }
}

template <Element E, int64_t N>
void score_heads(const uint8_t* keys, int64_t dim, const float* q, int64_t group, float* scores) {
  int64_t g = 0;
  for (; g + N <= group; g += N) {
    for (int64_t half = 0; half < 2; ++half) {
      score_half<E, N>(keys + key_half_offset(E, dim, half), dim, half, q + g * dim,
                       scores + g * kRowTokens + half * kHalf);
    }
  }
  if constexpr (N > 1) {
    if (g < group) score_heads<E, N - 1>(keys, dim, q + g * dim, group - g, scores + g * kRowTokens);
  }
}

// Weighted values of C vectors of channels, from channel `first` on, for N heads over the whole piece. kPart: one
// vector, of which only `count` channels exist.
template <Element E, int64_t N, int64_t C, bool kPart>
void weigh_channels(const Piece& piece, int64_t head, int64_t dim, int64_t first, int64_t count, const float* weights,
                    const float* old_factor, const float* new_factor, float* o) {
  constexpr int64_t per = per_word(E);
  Floats sums[N][C] = {};
  for (int64_t b = 0; b < piece.blocks; ++b) {
    piece.feed->some();
    const uint8_t* values = piece.values(head, b);
    for (int64_t group = 0; group < kBlockTokens / per; ++group) {
      const uint8_t* row = values + value_row_offset(E, dim, group) + first * 4;
      const float* p = weights + b * kBlockTokens + group * per;
      const int upper = int(group * per / kHalf);
      Words words[C];
      for (int64_t c = 0; c < C; ++c) words[c] = kPart ? load_first(row, count) : load_words(row + c * 4 * kLanes);
      for (int64_t j = 0; j < per; ++j) {
        for (int64_t c = 0; c < C; ++c) {
          const Floats value = number_of<E>(words[c], int(j), upper);
          for (int64_t n = 0; n < N; ++n) sums[n][c] += value * p[n * kRowTokens + j];
        }
      }
    }
  }
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t c = 0; c < C; ++c) {
      uint8_t* to = reinterpret_cast<uint8_t*>(o + n * dim + first + c * kLanes);
      const Floats old = (Floats)(kPart ? load_first(to, count) : load_words(to));
      const Floats sum = old * old_factor[n] + sums[n][c] * new_factor[n];
      std::memcpy(to, &sum, kPart ? size_t(count) * 4 : sizeof sum);
    }
  }
}

template <Element E, int64_t N>
void weigh_heads(const Piece& piece, int64_t head, int64_t dim, int64_t group, const float* weights,
                 const float* old_factor, const float* new_factor, float* o) {
  constexpr int64_t C = kLanes == 16 ? 4 : 2;
  int64_t g = 0;
  for (; g + N <= group; g += N) {
    const float* p = weights + g * kRowTokens;
    int64_t c = 0;
    for (; c + C * kLanes <= dim; c += C * kLanes) {
      weigh_channels<E, N, C, false>(piece, head, dim, c, 0, p, old_factor + g, new_factor + g, o + g * dim);
    }
    for (; c + kLanes <= dim; c += kLanes) {
      weigh_channels<E, N, 1, false>(piece, head, dim, c, 0, p, old_factor + g, new_factor + g, o + g * dim);
    }
    if (c < dim) {
      weigh_channels<E, N, 1, true>(piece, head, dim, c, dim - c, p, old_factor + g, new_factor + g, o + g * dim);
    }
  }
  if constexpr (N > 1) {
    if (g < group) {
      weigh_heads<E, N - 1>(piece, head, dim, group - g, weights + g * kRowTokens, old_factor + g, new_factor + g,
                            o + g * dim);
    }
  }
}

}  // namespace

void score_lanes(Element element, const uint8_t* keys, const uint8_t* scales, int64_t dim, const float* q,
                 int64_t group, float* folded, float* scores) {
  if (element == Element::i4_channel) {
    fold_channels(scales, dim, q, group, folded);
    q = folded;
  }
  choose(element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (is_for_keys(E)) score_heads<E, kHeads>(keys, dim, q, group, scores);
  });
  for (int64_t g = 0; g < group; ++g) {
    float* row = scores + g * kRowTokens;
    for (int64_t t = 0; t < kBlockTokens; t += kLanes) {
      Floats score = load_floats(row + t);
      if (has_token_scale(element)) score *= load_floats(scales + t * 4);
      if (element == Element::i4_channel) score += folded[group * dim + g];
      store_floats(row + t, score);
    }
  }
}

void weigh_lanes(Element element, const Piece& piece, int64_t head, int64_t dim, int64_t group, const Work& work,
                 float* o) {
  if (has_token_scale(element)) {
    for (int64_t g = 0; g < group; ++g) {
      float* row = work.scores + g * kRowTokens;
      for (int64_t t = 0; t < piece.tokens(); t += kLanes) {
        store_floats(row + t, load_floats(row + t) * load_floats(work.v_scales + t));
      }
    }
  }
  choose(element, [&](auto chosen) {
    constexpr Element E = decltype(chosen)::value;
    if constexpr (is_for_values(E)) {
      weigh_heads<E, kHeads>(piece, head, dim, group, work.scores, work.old_factor, work.new_factor, o);
    }
  });
}

WINDOWTAX_END_LEVEL
