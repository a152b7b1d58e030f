// Prefill attention of every level against sums in double precision: random shapes, elements, masks and block tables.
// Usage: fuzz_prefill [seed [cases]]. What no query may read is filled with NaN.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "fuzz_prefill_codes.h"
#include "levels.h"

namespace {

// One plane of keys or values of a part with what belongs to it, and what it holds as numbers.
struct Numbers {
  Element element;
  int64_t heads, dim, blocks;
  std::vector<uint8_t> codes, scales, tail;
  std::vector<double> values;  // [token][dim] of the tile's head
};

struct PartData {
  Numbers k, v;
  std::vector<int32_t> ids, scale_ids;
  KvView view;
  TilePart part;
};

std::vector<int32_t> random_ids(int64_t count, int64_t pool) {
  std::vector<int32_t> ids(static_cast<size_t>(pool));
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), random_bits);
  ids.resize(static_cast<size_t>(count));
  return ids;
}

template <typename T>
void put(std::vector<uint8_t>& bytes, int64_t at, T x) {
  std::memcpy(bytes.data() + at, &x, sizeof x);
}

// Writes tokens begin ... end - 1 (counted from the part's first) of one head; all else is NaN.
void fill(Numbers& n, bool keys, int64_t head, const std::vector<int32_t>& ids, int64_t begin, int64_t end,
          float size) {
  const int64_t head_bytes = element_bytes(n.element, n.dim), pool = n.blocks;
  n.codes.assign(static_cast<size_t>(pool * n.heads * head_bytes), 0xff);
  n.scales.assign(static_cast<size_t>(pool * n.heads * scale_bytes(n.element, n.dim)), 0xff);
  n.values.assign(ids.size() * 32 * static_cast<size_t>(n.dim), 0.0);
  for (int64_t token = begin; token < end; ++token) {
    const int64_t block = ids[static_cast<size_t>(token / 32)], slot = block * n.heads + head, t = token % 32;
    float scale = 1.0f;
    if (n.element == Element::i8) {
      scale = size * static_cast<float>(between(50, 150)) / 7400.0f;
      put(n.scales, (slot * 32 + t) * 4, scale);
    } else if (n.element == Element::i4) {  // in half precision: scales about 1/8, middles of either sign about 1/4
      put(n.scales, (slot * 64 + t) * 2, static_cast<uint16_t>(0x3000 + between(0, 255)));
      put(n.scales, (slot * 64 + 32 + t) * 2, static_cast<uint16_t>(between(0, 1) << 15 | (0x3000 + between(0, 1023))));
    }
    if (four_bits(n.element)) continue;
    for (int64_t d = 0; d < n.dim; ++d) {
      const uint32_t code = random_code(n.element, size);
      const int64_t at = keys ? key_index(n.element, n.dim, t, d) : value_index(n.element, n.dim, t, d);
      std::memcpy(n.codes.data() + slot * head_bytes + at * 4 / width_of(n.element), &code,
                  static_cast<size_t>(4 / width_of(n.element)));
      n.values[static_cast<size_t>(token * n.dim + d)] = code_value(n.element, code) * scale;
    }
  }
}

// 4-bit codes: any bits; their order is the codecs' own, so the codecs read them back.
void fill_nibbles(PartData& p, const Kernels& codecs, Numbers& n, bool keys, int64_t head, int64_t begin, int64_t end) {
  for (uint8_t& code : n.codes) code = static_cast<uint8_t>(between(0, 255));
  for (int64_t at = 0; keys && at < n.blocks * n.heads * 2 * n.dim; at += 2 * n.dim) {
    for (int64_t d = 0; d < n.dim; ++d) {
      put(n.scales, (at + d) * 2, static_cast<uint16_t>(0x2c00 + between(0, 255)));  // about 1/16
      put(n.scales, (at + n.dim + d) * 2, static_cast<uint16_t>(0xb800));            // -0.5
    }
  }
  std::vector<float> block(static_cast<size_t>(32 * n.dim));
  for (int64_t token = begin; token < end; ++token) {
    const auto at = static_cast<size_t>(token / 32);
    if (token == begin || token % 32 == 0) {
      keys ? codecs.read_keys(p.view, p.ids[at], p.scale_ids[at], head, block.data())
           : codecs.read_values(p.view, p.ids[at], head, block.data());
    }
    std::copy_n(block.begin() + token % 32 * n.dim, n.dim, n.values.begin() + token * n.dim);
  }
}

// i4_channel: the blocks from `tail_block` on are read from the tail, in bf16.
void fill_tail(PartData& p, int64_t head, int64_t end, int64_t tail_block, float size) {
  Numbers& n = p.k;
  const int64_t blocks = (end + 31) / 32 - tail_block, numbers = 32 * n.dim;
  n.tail.assign(static_cast<size_t>(blocks * n.heads * numbers * 2), 0xff);
  p.part.channels = {p.scale_ids.data(), n.tail.data(), tail_block};
  for (int64_t token = tail_block * 32; token < end; ++token) {
    for (int64_t d = 0; d < n.dim; ++d) {
      const uint16_t code = bf16_bits(normal() * size);
      const int64_t slot = (token / 32 - tail_block) * n.heads + head;
      put(n.tail, (slot * numbers + key_index(Element::bf16, n.dim, token % 32, d)) * 2, code);
      n.values[static_cast<size_t>(token * n.dim + d)] = bf16_value(code);
    }
  }
}

struct Shape {
  Element k_element, v_element;
  int64_t kv_heads, head, group, k_dim, v_dim, start, tokens;
  float softcap, size;
  bool sinks;
};

Shape random_shape(const Kernels& kernels) {
  Shape s;
  s.k_element = any_of({Element::f32, Element::f16, Element::bf16, Element::f8, Element::i8, Element::i4_channel});
  s.v_element = static_cast<Element>(between(0, 5));
  if (one_in(3)) s.v_element = s.k_element == Element::i4_channel ? Element::i4 : s.k_element;
  const auto dim = [](Element e) {
    const int64_t usual = any_of<int64_t>({16, 32, 64, 64, 64, 80, 96, 128, 128, 256});
    return one_in(3) ? width_of(e) * between(1, 30) : usual;
  };
  s.kv_heads = between(1, 3);
  s.head = between(0, s.kv_heads - 1);
  s.group = any_of<int64_t>({1, 1, 2, 3, 4, 5, 7, 8, 16});
  s.k_dim = dim(s.k_element);
  s.v_dim = one_in(2) && s.k_element == s.v_element ? s.k_dim : dim(s.v_element);
  s.start = one_in(4) ? 0 : between(0, one_in(3) ? 1500 : 300);
  const int64_t most = kernels.tile_tokens(s.group, s.k_dim, s.v_dim);
  s.tokens = one_in(4) ? most : between(1, std::min<int64_t>(most, 64));
  s.softcap = one_in(4) ? 5.0f + static_cast<float>(between(0, 40)) : 0.0f;
  s.size = any_of<float>({0.3f, 1.0f, 1.0f, 4.0f, 12.0f});
  if (one_in(5)) {  // what the kernels are fastest at, a path of its own
    s.k_dim = s.v_dim = 64;
    s.start = between(300, 1500);
    s.softcap = 0.0f;
  }
  s.sinks = one_in(3);
  return s;
}

PartData random_part(const Shape& s, const Kernels& codecs, bool sink_part) {
  PartData p;
  const int64_t end = s.start + s.tokens;
  TilePart& part = p.part;
  part = {};
  if (sink_part) {
    part.high = between(1, 40);
    part.count = (part.high + 31) / 32;
  } else {
    part.window = one_in(3) ? between(1, 200) : 0;
    part.chunk = !part.window && one_in(5) ? between(1, 150) : 0;
    part.earlier = one_in(4);
    part.low = one_in(3) ? between(0, s.start) : 0;
    part.high = one_in(4) ? between(0, end) : between(end, end + 50);
    const int64_t least = std::max(part.low, part.window ? s.start - part.window + 1 : 0) / 32;
    part.first = one_in(2) && least > 0 ? between(0, least) * 32 : 0;
    part.count = std::max<int64_t>((end - part.first + 31) / 32, 1) + between(0, 2);
  }
  const int64_t pool = part.count + between(0, 5);
  p.ids = random_ids(part.count, pool);
  p.scale_ids = random_ids(part.count, pool);
  p.k = {s.k_element, s.kv_heads, s.k_dim, pool, {}, {}, {}, {}};
  p.v = {s.v_element, s.kv_heads, s.v_dim, pool, {}, {}, {}, {}};
  const int64_t written = std::max<int64_t>(0, std::min(std::min(part.high, end) - part.first, part.count * 32));
  const int64_t begin = std::min(std::max<int64_t>(0, part.low - part.first), written);
  fill(p.k, true, s.head, p.ids, begin, written, s.size / std::sqrt(static_cast<float>(s.k_dim)));
  fill(p.v, false, s.head, p.ids, begin, written, 1.0f);
  const auto plane = [&](std::vector<uint8_t>& bytes) {
    return Plane{bytes.data(), static_cast<int64_t>(bytes.size()) / pool};
  };
  p.view = {s.k_element, s.v_element, s.kv_heads, s.k_dim, s.v_dim, plane(p.k.codes), plane(p.v.codes),
            plane(p.k.scales), plane(p.v.scales)};
  if (four_bits(s.k_element)) {
    fill_nibbles(p, codecs, p.k, true, s.head, begin, written);
    part.channels = {p.scale_ids.data(), nullptr, -1};
    const int64_t tail_block = between(begin / 32, (written + 31) / 32);
    if (one_in(2)) fill_tail(p, s.head, written, tail_block, s.size / std::sqrt(static_cast<float>(s.k_dim)));
  }
  if (four_bits(s.v_element)) fill_nibbles(p, codecs, p.v, false, s.head, begin, written);
  return p;
}

bool sees(const TilePart& part, int64_t p, int64_t position) {
  const int64_t low = std::max({part.low, part.window ? p - part.window + 1 : 0, part.chunk ? p - p % part.chunk : 0});
  return position >= low && position < std::min(part.high, part.earlier ? p - p % 32 : p + 1);
}

// What errors are to be judged against: the sum of p |v|, and the greatest sum of |q k|, in whose units scores round.
struct Sizes {
  double weight, score;
};

// One row in double precision.
std::vector<double> expected(const Shape& s, const std::vector<PartData>& parts, int64_t position, const float* q,
                             const float* sink, bool round, Sizes* sizes) {
  std::vector<double> scores;
  std::vector<const double*> values;
  for (const PartData& p : parts) {
    for (int64_t token = 0; token < p.part.count * 32; ++token) {
      if (!sees(p.part, position, p.part.first + token)) continue;
      double score = 0, size = 0;
      for (int64_t d = 0; d < s.k_dim; ++d) {
        const double k = p.k.values[static_cast<size_t>(token * s.k_dim + d)];
        const double product = round ? static_cast<double>(rounded(q[d])) * rounded(static_cast<float>(k)) : q[d] * k;
        score += product;
        size += std::abs(product);
      }
      sizes->score = std::max(sizes->score, size);
      scores.push_back(s.softcap > 0 ? s.softcap * std::tanh(score / s.softcap) : score);
      values.push_back(p.v.values.data() + token * s.v_dim);
    }
  }
  std::vector<double> out(static_cast<size_t>(s.v_dim), 0.0);
  if (scores.empty()) return out;
  double greatest = *std::max_element(scores.begin(), scores.end()), sum = 0;
  if (sink) greatest = std::max<double>(greatest, *sink);
  if (sink) sum = std::exp(*sink - greatest);
  for (const double score : scores) sum += std::exp(score - greatest);
  for (size_t i = 0; i < scores.size(); ++i) {
    const double p = std::exp(scores[i] - greatest) / sum;
    double square = 0;
    for (size_t c = 0; c < out.size(); ++c) {
      const double v = round ? rounded(static_cast<float>(values[i][c])) : values[i][c];
      out[c] += p * v;
      square += v * v;
    }
    sizes->weight += p * std::sqrt(square);
  }
  return out;
}

// A tile with the buffers that it points to.
struct Case {
  Shape shape;
  std::vector<PartData> parts;
  std::vector<TilePart> tile_parts;
  std::vector<float> q, sinks, out;
  int64_t q_stride, out_stride;
};

Case random_case(const Kernels& kernels, const Kernels& codecs) {
  Case c;
  const Shape s = c.shape = random_shape(kernels);
  if (one_in(4)) c.parts.push_back(random_part(s, codecs, true));
  c.parts.push_back(random_part(s, codecs, false));
  for (PartData& p : c.parts) {
    p.part.view = &p.view;
    p.part.ids = p.ids.data();
    c.tile_parts.push_back(p.part);
  }
  c.q_stride = s.group * s.k_dim + between(0, 9);
  c.out_stride = s.group * s.v_dim + between(0, 9);
  c.q.resize(static_cast<size_t>(c.q_stride * s.tokens));
  c.out.assign(static_cast<size_t>(c.out_stride * s.tokens), 7.0f);
  c.sinks.resize(static_cast<size_t>(s.group));
  for (float& x : c.q) x = normal();
  for (float& x : c.sinks) x = 3.0f * normal();
  return c;
}

// Whether one row of the answer is right; prints what is wrong. `worst` is raised to the row's relative error.
bool check_row(const Case& c, const char* level, bool round, int64_t t, int64_t g, double* worst) {
  const Shape& s = c.shape;
  Sizes sizes = {0, 0};
  double square = 0, size = 0;
  const std::vector<double> want =
      expected(s, c.parts, s.start + t, c.q.data() + t * c.q_stride + g * s.k_dim,
               s.sinks ? &c.sinks[static_cast<size_t>(g)] : nullptr, round, &sizes);
  for (int64_t d = 0; d < s.v_dim; ++d) {
    const double x = want[static_cast<size_t>(d)];
    const double error = c.out[static_cast<size_t>(t * c.out_stride + g * s.v_dim + d)] - x;
    square += error * error;
    size += x * x;
  }
  const double error = std::sqrt(square), rounding = (2e-6 + 3e-7 * sizes.score) * sizes.weight;
  const double allowed = round ? 0.005 * std::sqrt(size) + 0.003 * sizes.weight + rounding : rounding;
  if (sizes.weight > 0) *worst = std::max(*worst, error / sizes.weight);
  if (error <= allowed) return true;
  std::printf("%s: elements %d and %d, dims %d and %d, group %d: token %d, head %d is off by %g of %g\n", level,
              static_cast<int>(s.k_element), static_cast<int>(s.v_element), static_cast<int>(s.k_dim),
              static_cast<int>(s.v_dim), static_cast<int>(s.group), static_cast<int>(t), static_cast<int>(g), error,
              sizes.weight);
  return false;
}

Tile tile_of(Case& c) {
  const Shape& s = c.shape;
  return {c.q.data(), c.q_stride, s.start, s.tokens, s.group, s.head, c.tile_parts.data(),
          static_cast<int64_t>(c.tile_parts.size()), s.softcap, s.sinks ? c.sinks.data() : nullptr, c.out.data(),
          c.out_stride};
}

// Whether outputs left ready for a product, in any rows of its tiles, are `out` in bf16, and nothing else is written.
bool leaves_ready(const Kernels& kernels, Case& c, void* scratch) {
  constexpr int64_t kTile = 16 * kGroup;
  const Shape& s = c.shape;
  const int64_t first = between(0, 3) * 16, width = s.group * s.v_dim;
  const int64_t units = (first + width + kGroup - 1) / kGroup, tiles = (s.tokens + 15) / 16 + 1, skip = between(0, 15);
  constexpr uint16_t kLeft = 0x4040;
  std::vector<uint16_t> ready(static_cast<size_t>(tiles * units * kTile), kLeft), want = ready;
  std::vector<uint16_t*> rows;
  const auto place = [&](int64_t t) { return ((t + skip) / 16 * units * 16 + (t + skip) % 16) * kGroup; };
  for (int64_t t = 0; t < s.tokens; ++t) {
    rows.push_back(ready.data() + place(t));
    for (int64_t i = 0; i < width; ++i) {
      const int64_t column = first + i;
      want[static_cast<size_t>(place(t) + column / kGroup * kTile + column % kGroup)] =
          bf16_bits(c.out[static_cast<size_t>(t * c.out_stride + i)]);
    }
  }
  Tile tile = tile_of(c);
  tile.out = nullptr;
  tile.ready = rows.data();
  tile.ready_column = first;
  kernels.attend_tile(tile, scratch);
  return ready == want;
}

bool run_case(const Kernels& kernels, const Kernels& codecs, uint64_t seed, double* worst) {
  random_bits.seed(seed);
  Case c = random_case(kernels, codecs);
  const Shape& s = c.shape;
  std::vector<uint8_t> scratch(static_cast<size_t>(kernels.tile_scratch(s.group, s.k_dim, s.v_dim)), 0xff);
  kernels.attend_tile(tile_of(c), scratch.data());
  const bool tiles = std::strcmp(kernels.level, "amx") == 0;
  const bool round = tiles && s.k_element != Element::f32 && s.v_element != Element::f32;
  if (round && s.v_dim % 16 == 0 && !leaves_ready(kernels, c, scratch.data())) {
    std::printf("%s seed %llu: what is left ready is not what goes out\n", kernels.level,
                static_cast<unsigned long long>(seed));
    return false;
  }
  const bool every_row = s.tokens * s.group * s.start < 4000;
  for (int64_t t = 0; t < s.tokens; ++t) {
    for (int64_t g = 0; g < s.group; ++g) {
      if (!every_row && t && t + 1 < s.tokens && !one_in(11)) continue;
      if (check_row(c, kernels.level, round, t, g, worst + round)) continue;
      std::printf("  seed %llu\n", static_cast<unsigned long long>(seed));
      return false;
    }
    for (int64_t i = s.group * s.v_dim; i < c.out_stride; ++i) {
      if (c.out[static_cast<size_t>(t * c.out_stride + i)] == 7.0f) continue;
      std::printf("%s seed %llu: wrote beyond a token's heads\n", kernels.level, static_cast<unsigned long long>(seed));
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const int64_t cases = argc > 2 ? std::atoll(argv[2]) : 60;
  const Kernels* codecs = kernels_of("portable");
  if (!codecs) return std::printf("no portable level\n"), 1;
  int wrong = 0;
  for (const Level& level : levels()) {
    const Kernels* kernels = level.runs ? kernels_of(level.name) : nullptr;
    if (!kernels) continue;
    double worst[2] = {0, 0};
    for (int64_t i = 0; i < cases && wrong < 10; ++i) {
      wrong += !run_case(*kernels, *codecs, seed * 100000 + static_cast<uint64_t>(i), worst);
    }
    std::printf("%-8s  %lld cases, greatest error of a row: %.1e in float32, %.1e in bf16\n", level.name.c_str(),
                static_cast<long long>(cases), worst[0], worst[1]);
  }
  return wrong ? 1 : 0;
}
