// Codecs and decode attention of every level that runs here, against plain double-precision references.
// Usage: fuzz_attention [seed] [rounds]. Exit code 1 with a message on the first mismatch.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "fuzz_levels.h"

using namespace windowtax;

namespace {

const char* kNames[] = {"f32", "f16", "bf16", "f8", "i8", "i4", "i4_channel"};

constexpr Element kKeyElements[] = {Element::f32, Element::f16, Element::bf16, Element::f8, Element::i8,
                                    Element::i4_channel};
constexpr Element kValueElements[] = {Element::f32, Element::f16, Element::bf16, Element::f8, Element::i8, Element::i4};

bool is_channel(Element e) { return e == Element::i4_channel; }
bool is_nibble(Element e) { return e == Element::i4 || is_channel(e); }
int64_t per_word(Element e) { return e == Element::f32 ? 1 : e == Element::f16 || e == Element::bf16 ? 2 : 4; }

// Where the number of a token and channel lies, in numbers, by the arrangement of kernels.h (not for nibbles).
int64_t key_place(Element e, int64_t dim, int64_t token, int64_t channel) {
  const int64_t per = per_word(e);
  return ((token / 16 * (dim / per) + channel / per) * 16 + token % 16) * per + channel % per;
}
int64_t value_place(Element e, int64_t dim, int64_t token, int64_t channel) {
  const int64_t per = per_word(e);
  return (token / per * dim + channel) * per + token % per;
}

// The value of a code, from the format's definition.
double decoded(Element e, const uint8_t* base, int64_t place) {
  if (e == Element::f32) return reinterpret_cast<const float*>(base)[place];
  if (e == Element::i8) return reinterpret_cast<const int8_t*>(base)[place];
  if (e == Element::bf16) {
    const uint32_t bits = uint32_t(reinterpret_cast<const uint16_t*>(base)[place]) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  }
  const bool half = e == Element::f16;
  const uint32_t code = half ? reinterpret_cast<const uint16_t*>(base)[place] : base[place];
  const int mantissa_bits = half ? 10 : 3, exponent_bits = half ? 5 : 4, bias = half ? 15 : 7;
  const int exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1);
  const int mantissa = code & ((1 << mantissa_bits) - 1);
  const double sign = code >> (mantissa_bits + exponent_bits) ? -1 : 1;
  const double size = exponent ? std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits)
                               : std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * size;
}

// Half a step at x, what rounding to nearest may lose. low, high: the bounds of the numbers that share its scale.
double half_step(Element e, double x, double low, double high) {
  const double size = std::fabs(x);
  const auto steps = [&](int bits, int least) {
    return std::ldexp(1.0, std::max(size > 0 ? std::ilogb(size) : least, least) - bits - 1);
  };
  switch (e) {
    case Element::f32: return 0;
    case Element::f16: return steps(10, -14);
    case Element::bf16: return steps(7, -126);
    case Element::f8: return size > 448 ? size - 448 : steps(3, -6);
    case Element::i8: return std::max(-low, high) / 127 * 0.5001;
    // Scale and middle are rounded to fp16, which the codes at the ends cannot make up for.
    case Element::i4: return (high - low) / 15 * (0.5 + 8 / 2040.0) + std::max(-low, high) / 2040 + 1e-6;
    // The same, after the tail's bf16.
    default: return (high - low) / 30 + std::max(std::fabs(low), std::fabs(high)) * 0.008 + 1e-6;
  }
}

// A pool of blocks with its planes full of garbage (NaN patterns among it), and what was written to it in float32.
struct Pool {
  KvView view;
  int64_t blocks;
  std::vector<uint8_t> k, v, k_scale, v_scale, tail;
  std::vector<float> keys, values;  // [blocks][32][kv_heads][dim]

  Pool(Rng& rng, Element k_element, Element v_element, int64_t kv_heads, int64_t k_dim, int64_t v_dim, int64_t blocks)
      : blocks(blocks) {
    view = {k_element, v_element, kv_heads, k_dim, v_dim, {}, {}, {}, {}};
    const auto plane = [&](std::vector<uint8_t>& bytes, int64_t head_bytes) {
      const int64_t block_bytes = kv_heads * head_bytes + 64 * pick(rng, 0, 1);
      bytes.assign(std::max<int64_t>(blocks * block_bytes, 1), 0xff);
      return Plane{bytes.data(), block_bytes};
    };
    view.k = plane(k, element_bytes(k_element, k_dim));
    view.v = plane(v, element_bytes(v_element, v_dim));
    view.k_scale = plane(k_scale, scale_bytes(k_element, k_dim));
    view.v_scale = plane(v_scale, scale_bytes(v_element, v_dim));
    tail.assign(kv_heads * element_bytes(Element::bf16, k_dim), 0xff);
    keys.assign(blocks * 32 * kv_heads * k_dim, 0);
    values.assign(blocks * 32 * kv_heads * v_dim, 0);
  }

  float& key(int64_t block, int64_t token, int64_t head, int64_t c) {
    return keys[((block * 32 + token) * view.kv_heads + head) * view.k_dim + c];
  }
  float& value(int64_t block, int64_t token, int64_t head, int64_t c) {
    return values[((block * 32 + token) * view.kv_heads + head) * view.v_dim + c];
  }
};

// Writes tokens offset ... of a block: random numbers, now and then zeros or outliers.
void write(Rng& rng, const Kernels& kernels, Pool& pool, int64_t block, int64_t offset, int64_t tokens) {
  const KvView& view = pool.view;
  const int64_t width = view.kv_heads * std::max(view.k_dim, view.v_dim), stride = width + pick(rng, 0, 5);
  std::vector<float> k = normal(rng, tokens * stride), v = normal(rng, tokens * stride);
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t kind = pick(rng, 0, 9);
    for (int64_t i = 0; i < stride; ++i) {
      float& x = k[t * stride + i];
      x = kind == 0 ? 0 : kind == 1 ? x * 1e-3f : kind == 2 && i % 7 == 0 ? x * 4 : x;
      if (kind == 3) v[t * stride + i] *= 0.01f;
    }
    for (int64_t head = 0; head < view.kv_heads; ++head) {
      for (int64_t c = 0; c < view.k_dim; ++c) {
        pool.key(block, offset + t, head, c) = k[t * stride + head * view.k_dim + c];
      }
      for (int64_t c = 0; c < view.v_dim; ++c) {
        pool.value(block, offset + t, head, c) = v[t * stride + head * view.v_dim + c];
      }
    }
  }
  kernels.append(view, block, block, pool.tail.data(), offset, tokens, k.data(), v.data(), stride);
}

// Returns whether the tail has the block's keys then: a block that comes whole leaves the tail alone.
bool write_pieces(Rng& rng, const Kernels& kernels, Pool& pool, int64_t block, int64_t tokens) {
  for (int64_t at = 0; at < tokens;) {
    const int64_t count = pick(rng, 0, 3) ? pick(rng, 1, tokens - at) : tokens - at;
    write(rng, kernels, pool, block, at, count);
    if (count == 32) return false;
    // A draft that was not accepted is written over.
    if (pick(rng, 0, 2) == 0) write(rng, kernels, pool, block, at + count - 1, 1);
    at += count;
  }
  return true;
}

// Keys and values of one head as the kernels read them: [blocks][32][dim], tail blocks from the tail.
std::vector<float> keys_as_read(const Kernels& kernels, const Pool& pool, int64_t head, int64_t tail_block) {
  const KvView& view = pool.view;
  std::vector<float> out(pool.blocks * 32 * view.k_dim);
  for (int64_t block = 0; block < pool.blocks; ++block) {
    float* to = out.data() + block * 32 * view.k_dim;
    if (block == tail_block) {
      const uint8_t* from = pool.tail.data() + head * element_bytes(Element::bf16, view.k_dim);
      for (int64_t i = 0; i < 32 * view.k_dim; ++i) {
        const int64_t place = key_place(Element::bf16, view.k_dim, i / view.k_dim, i % view.k_dim);
        to[i] = float(decoded(Element::bf16, from, place));
      }
    } else {
      kernels.read_keys(view, block, block, head, to);
    }
  }
  return out;
}

std::vector<float> values_as_read(const Kernels& kernels, const Pool& pool, int64_t head) {
  std::vector<float> out(pool.blocks * 32 * pool.view.v_dim);
  for (int64_t b = 0; b < pool.blocks; ++b) kernels.read_values(pool.view, b, head, &out[b * 32 * pool.view.v_dim]);
  return out;
}

// What is read back of one head in one block, against what was written, and the bytes against the arrangement.
void check_codec_head(const Kernels& kernels, Pool& pool, int64_t block, int64_t head, int64_t tokens) {
  const KvView& view = pool.view;
  for (const bool keys : {true, false}) {
    const Element e = keys ? view.k_element : view.v_element;
    const int64_t dim = keys ? view.k_dim : view.v_dim;
    const std::string name = std::string(kernels.level) + (keys ? " keys " : " values ") + kNames[int(e)] + " dim " +
                             std::to_string(dim);
    if (is_channel(e) && tokens < 32) continue;
    std::vector<float> read(32 * dim);
    if (keys) kernels.read_keys(view, block, block, head, read.data());
    if (!keys) kernels.read_values(view, block, head, read.data());
    const Plane& plane = keys ? view.k : view.v;
    const Plane& scales = keys ? view.k_scale : view.v_scale;
    const uint8_t* base = plane.base + block * plane.block_bytes + head * element_bytes(e, dim);
    for (int64_t t = 0; t < tokens; ++t) {
      const float* wrote = keys ? &pool.key(block, t, head, 0) : &pool.value(block, t, head, 0);
      const auto [least, most] = std::minmax_element(wrote, wrote + dim);
      for (int64_t c = 0; c < dim; ++c) {
        double low = *least, high = *most;  // per token, or per channel over the block's tokens
        for (int64_t u = 0; u < 32 && is_channel(e); ++u) {
          const double x = pool.key(block, u, head, c);
          low = u ? std::min(low, x) : x, high = u ? std::max(high, x) : x;
        }
        const double allowed = half_step(e, wrote[c], low, high);
        const double got = read[t * dim + c];
        if (!(std::fabs(got - wrote[c]) <= allowed * 1.0001 + 1e-30)) {
          fail(name + ": wrote " + std::to_string(wrote[c]) + ", read " + std::to_string(got));
        }
        if (is_nibble(e)) continue;
        double expected = decoded(e, base, keys ? key_place(e, dim, t, c) : value_place(e, dim, t, c));
        if (e == Element::i8) {
          float scale;
          std::memcpy(&scale, scales.base + block * scales.block_bytes + (head * 32 + t) * 4, 4);
          expected *= scale;
          if (low == 0 && high == 0 && scale != 0) fail(name + ": a zero vector must have scale 0");
        }
        if (!(std::fabs(expected - got) <= 1e-6 * std::fabs(expected))) fail(name + ": not in the arrangement's place");
      }
    }
  }
}

struct Heads {
  int64_t group, kv_heads, k_dim, v_dim;
};

// Softmax attention of one KV head over a run in double precision, going on from (m, l, o), all of the group's G heads.
void reference_run(const Heads& heads, const float* q, const std::vector<float>& keys,
                   const std::vector<float>& values, const Run& run, double softcap, double* m, double* l, double* o) {
  for (int64_t g = 0; g < heads.group; ++g) {
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t begin = i == 0 ? run.begin : 0, end = i + 1 == run.count ? run.end : 32;
      for (int64_t t = begin; t < end; ++t) {
        const float* key = &keys[(run.ids[i] * 32 + t) * heads.k_dim];
        const float* value = &values[(run.ids[i] * 32 + t) * heads.v_dim];
        double score = 0;
        for (int64_t c = 0; c < heads.k_dim; ++c) score += double(q[g * heads.k_dim + c]) * key[c];
        if (softcap > 0) score = softcap * std::tanh(score / softcap);
        const double high = std::max(m[g], score), keep = std::exp(m[g] - high), weight = std::exp(score - high);
        l[g] = l[g] * keep + weight;
        for (int64_t c = 0; c < heads.v_dim; ++c) {
          o[g * heads.v_dim + c] = o[g * heads.v_dim + c] * keep + weight * value[c];
        }
        m[g] = high;
      }
    }
  }
}

bool by_amx(const Kernels& kernels) { return std::string(kernels.level) == "amx"; }

// Scores in 16-bit integers or two bf16 parts lose up to about 2e-4 of their spread, in float32 next to nothing.
double tolerance(const Kernels& kernels, Element k, Element v, double spread) {
  const bool exact = !by_amx(kernels) || (k == Element::f32 && v == Element::f32);
  return exact ? 2e-5 + 3e-6 * spread : 1e-4 + 2e-4 * spread;
}

// A channel of a block of keys [blocks * 32, k_dim]: its least value, and its range, of which a code is a fifteenth.
struct Range {
  double least, range;
};

Range range_of(const std::vector<float>& keys, int64_t k_dim, int64_t block, int64_t channel) {
  double low = INFINITY, high = -INFINITY;
  for (int64_t t = block * 32; t < block * 32 + 32; ++t) {
    const double x = keys[t * k_dim + channel];
    low = std::min(low, x), high = std::max(high, x);
  }
  return high < INFINITY ? Range{low, high - low} : Range{0, 0};
}

// What scores of i4_channel may lose more, by what these keys are, at the most in a block.
//
// At amx queries times the channels' scales are integers of at most 32512, in units of the block's greatest such product,
// so that one channel with a wide range costs the others. Rounding is even in half a unit either way, a channel adds it
// times a code of -8..7 (root mean square 4.6): five deviations of the sum. In float32 the products with codes and those
// with least values are far larger than their sum: one rounding of all their sizes.
double channel_rounding(const Kernels& kernels, const Heads& heads, int64_t blocks, const float* q,
                        const std::vector<float>& keys) {
  double most = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t g = 0; g < heads.group; ++g) {
      double unit = 0, size = 0;
      for (int64_t c = 0; c < heads.k_dim; ++c) {
        const Range channel = range_of(keys, heads.k_dim, b, c);
        const double query = std::fabs(double(q[g * heads.k_dim + c]));
        unit = std::max(unit, query * channel.range / 15 / 32512);
        size += query * (channel.range + std::fabs(channel.least));
      }
      const double rounding = by_amx(kernels) ? 5 * unit * 4.6 * std::sqrt(double(heads.k_dim) / 12) : 0x1p-24 * size;
      most = std::max(most, rounding);
    }
  }
  return most;
}

void check_attention(Rng& rng, const Kernels& kernels, Element k_element, Element v_element) {
  const bool quads = per_word(k_element) == 4;
  Heads heads;
  heads.group = pick(rng, 0, 3) ? pick(rng, 1, 9) : pick(rng, 1, 16);
  heads.kv_heads = pick(rng, 1, 3);
  heads.k_dim = quads ? one_of<int64_t>(rng, {8, 12, 16, 24, 48, 64, 64, 80, 96, 112, 128, 256})
                      : one_of<int64_t>(rng, {8, 10, 18, 24, 32, 50, 64, 64, 80, 96, 112, 128, 256});
  heads.v_dim = pick(rng, 0, 2) ? heads.k_dim : one_of<int64_t>(rng, {8, 10, 24, 64, 80, 128});
  const int64_t blocks = pick(rng, 1, 11), last_tokens = pick(rng, 1, 32);
  Pool pool(rng, k_element, v_element, heads.kv_heads, heads.k_dim, heads.v_dim, blocks);
  bool in_tail = false;  // the last block's keys
  for (int64_t b = 0; b < blocks; ++b) in_tail = write_pieces(rng, kernels, pool, b, b + 1 < blocks ? 32 : last_tokens);

  const int64_t head = pick(rng, 0, heads.kv_heads - 1);
  const HeadSpan span = {head, pick(rng, 1, heads.kv_heads - head), heads.group};
  for (int64_t b = 0; b < blocks; ++b) check_codec_head(kernels, pool, b, head, b + 1 < blocks ? 32 : last_tokens);

  const bool read_tail = is_channel(k_element) && in_tail && (last_tokens < 32 || pick(rng, 0, 1));
  const int64_t tail_block = read_tail ? blocks - 1 : -1;
  const float q_scale = one_of<float>(rng, {0.02f, 0.2f, 1.0f});
  const int64_t rows = span.rows();
  std::vector<float> q = normal(rng, rows * heads.k_dim, q_scale);
  if (pick(rng, 0, 9) == 0) std::fill(q.begin(), q.begin() + heads.k_dim, 0.0f);
  const float softcap = pick(rng, 0, 3) ? 0.0f : 20.0f;

  // Two runs over the blocks, one after the other: all blocks but the last in any order, the last at the end.
  std::vector<int32_t> ids(blocks);
  for (int64_t b = 0; b < blocks; ++b) ids[b] = int32_t(b);
  std::shuffle(ids.begin(), ids.end() - 1, rng);
  const int64_t cut = pick(rng, 0, blocks);
  const auto run_of = [&](int64_t first, int64_t count) {
    Run run = {ids.data() + first, count, 0, 32, {ids.data() + first, pool.tail.data(), -1}};
    if (first + count == blocks && count > 0) {
      run.end = last_tokens;
      if (tail_block >= 0) run.channels.tail_block = count - 1;
    }
    if (count > 0) run.begin = pick(rng, 0, 2) ? 0 : pick(rng, 0, count == 1 ? run.end - 1 : 31);
    if (count > 0 && pick(rng, 0, 9) == 0) run.end = pick(rng, count == 1 ? run.begin : 1, run.end);
    run.more = pick(rng, 0, blocks - first - count);
    return run;
  };
  const Run runs[2] = {run_of(0, cut), run_of(cut, blocks - cut)};

  std::vector<double> m(rows, -INFINITY), l(rows, 0), o(rows * heads.v_dim, 0);
  std::vector<float> fm(rows, -INFINITY), fl(rows, 0), fo(rows * heads.v_dim, 0);
  if (pick(rng, 0, 3) == 0) {  // a sink's logit
    for (int64_t g = 0; g < rows; ++g) m[g] = fm[g] = 0.5f, l[g] = fl[g] = 1;
  }
  std::vector<uint8_t> scratch(kernels.decode_scratch(heads.k_dim, heads.v_dim, span.count, heads.group), 0xff);
  for (const Run& run : runs) {
    kernels.attend_run(pool.view, span, q.data(), run, softcap, {fm.data(), fl.data(), fo.data()}, scratch.data());
  }
  double rounding = 0;
  for (int64_t h = 0; h < span.count; ++h) {
    const std::vector<float> keys = keys_as_read(kernels, pool, head + h, tail_block);
    const std::vector<float> values = values_as_read(kernels, pool, head + h);
    const int64_t row = h * heads.group;
    for (const Run& run : runs) {
      if (run.count == 0) continue;
      reference_run(heads, &q[row * heads.k_dim], keys, values, run, softcap, &m[row], &l[row], &o[row * heads.v_dim]);
    }
    if (!is_channel(k_element)) continue;
    rounding = std::max(rounding, channel_rounding(kernels, heads, blocks - 1, &q[row * heads.k_dim], keys));
  }

  const std::string name = std::string(kernels.level) + " attend " + kNames[int(k_element)] + "/" +
                           kNames[int(v_element)] + " G " + std::to_string(span.count) + " x " +
                           std::to_string(heads.group) + " k " + std::to_string(heads.k_dim) + " v " +
                           std::to_string(heads.v_dim) + " blocks " + std::to_string(blocks);
  const double allowed = tolerance(kernels, k_element, v_element, q_scale * std::sqrt(double(heads.k_dim))) + rounding;
  for (int64_t g = 0; g < rows; ++g) {
    if (l[g] == 0) {
      if (fl[g] != 0 || fm[g] != -INFINITY) fail(name + ": an empty run changed the state");
      continue;
    }
    const double lse = m[g] + std::log(l[g]), got = fm[g] + std::log(double(fl[g]));
    if (!(std::fabs(lse - got) <= allowed)) {
      fail(name + ": lse " + std::to_string(got) + ", expected " + std::to_string(lse));
    }
    double error = 0, size = 0;
    for (int64_t c = 0; c < heads.v_dim; ++c) {
      const double expected = o[g * heads.v_dim + c] / l[g], mine = fo[g * heads.v_dim + c] / fl[g];
      error += (expected - mine) * (expected - mine), size += expected * expected;
    }
    if (!(std::sqrt(error) <= allowed * std::sqrt(size) + 1e-6)) {
      fail(name + ": relative error of the output " + std::to_string(std::sqrt(error / size)));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return fuzz_levels(argc, argv, 12, [](const Kernels& kernels, Rng& rng) {
    for (const Element k : kKeyElements) {
      for (const Element v : kValueElements) check_attention(rng, kernels, k, v);
    }
  });
}
