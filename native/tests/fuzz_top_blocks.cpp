// Block summaries, their scores and the choice of the best, of every level that runs here, against plain references.
// Usage: fuzz_top_blocks [seed] [rounds]. Exit code 1 with a message on the first mismatch.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "fuzz_levels.h"

using namespace windowtax;

namespace {

double bf16_at(const std::vector<uint8_t>& bytes, int64_t place) {
  uint16_t code;
  std::memcpy(&code, bytes.data() + 2 * place, 2);
  const uint32_t bits = uint32_t(code) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

void check_top_blocks(Rng& rng, const Kernels& kernels) {
  const int64_t kv_heads = pick(rng, 1, 3), dim = one_of<int64_t>(rng, {8, 10, 24, 64, 80, 96, 128, 256});
  const int64_t group = pick(rng, 1, 16), blocks = pick(rng, 1, 60), width = kv_heads * dim;
  const int64_t row_bytes = width * 2 + 64 * pick(rng, 0, 1), stride = width + pick(rng, 0, 3);
  std::vector<uint8_t> low(blocks * row_bytes, 0xff), high(blocks * row_bytes, 0xff);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t tokens = pick(rng, 1, 32);
    const std::vector<float> k = normal(rng, tokens * stride);
    for (int64_t at = 0; at < tokens;) {
      const int64_t count = pick(rng, 1, tokens - at);
      kernels.summarise(&low[b * row_bytes], &high[b * row_bytes], kv_heads, dim, at, count, &k[at * stride], stride);
      at += count;
    }
    for (int64_t c = 0; c < width; ++c) {
      double least = INFINITY, greatest = -INFINITY;
      for (int64_t t = 0; t < tokens; ++t) {
        least = std::min(least, double(k[t * stride + c])), greatest = std::max(greatest, double(k[t * stride + c]));
      }
      const double a = bf16_at(low, b * row_bytes / 2 + c), z = bf16_at(high, b * row_bytes / 2 + c);
      const bool close = least - a <= std::fabs(least) / 127 && z - greatest <= std::fabs(greatest) / 127;
      if (!(a <= least && z >= greatest && close)) fail(std::string(kernels.level) + " summarise: not a close bound");
    }
  }
  const int64_t count = pick(rng, 0, blocks), head = pick(rng, 0, kv_heads - 1), stride_of = count + pick(rng, 0, 3);
  const HeadSpan span = {head, pick(rng, 1, kv_heads - head), group};
  const std::vector<float> q = normal(rng, span.rows() * dim);
  std::vector<int32_t> ids(count);
  const bool in_row = pick(rng, 0, 1) == 1;  // as a pool gives them, or any
  for (int64_t i = 0; i < count; ++i) ids[i] = int32_t(in_row ? blocks - count + i : pick(rng, 0, blocks - 1));
  std::vector<float> scores(span.count * stride_of);
  std::vector<uint8_t> scratch(kernels.score_scratch(dim, span.count, span.group), 0xff);
  kernels.score_blocks({low.data(), row_bytes}, {high.data(), row_bytes}, span, dim, q.data(), ids.data(), count,
                       scores.data(), stride_of, scratch.data());
  for (int64_t n = 0; n < span.count * count; ++n) {
    const int64_t h = n / count, i = n % count;
    double expected = -INFINITY, size = 0;
    for (int64_t g = h * group; g < (h + 1) * group; ++g) {
      double sum = 0;
      for (int64_t c = 0; c < dim; ++c) {
        const int64_t place = (ids[i] * row_bytes + ((head + h) * dim + c) * 2) / 2;
        sum += std::max(q[g * dim + c] * bf16_at(low, place), q[g * dim + c] * bf16_at(high, place));
        size += std::fabs(q[g * dim + c]);
      }
      expected = std::max(expected, sum);
    }
    const float got = scores[h * stride_of + i];
    if (!(std::fabs(expected - got) <= 2e-4 * std::fabs(size) / group)) {
      fail(std::string(kernels.level) + " score_blocks: " + std::to_string(got) + ", expected " +
           std::to_string(expected));
    }
  }
}

void check_select(Rng& rng, const Kernels& kernels) {
  const int64_t count = pick(rng, 0, 9) ? pick(rng, 0, 300) : pick(rng, 0, 12000), top = pick(rng, 0, count + 3);
  std::vector<float> scores = normal(rng, count, one_of<float>(rng, {1.0f, 100.0f, 1e-20f}));
  const int64_t kind = pick(rng, 0, 3);
  for (float& x : scores) {
    if (kind == 1) x = std::round(x);  // many equal ones, -0 among them
    if (kind == 2 && pick(rng, 0, 1)) x = -INFINITY;
    if (kind == 3) x = std::numeric_limits<float>::max() * (x > 0 ? 1 : -1);
  }
  std::vector<int32_t> order(count), chosen(top, -1);
  for (int64_t i = 0; i < count; ++i) order[i] = int32_t(i);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  order.resize(std::min(top, count));
  std::sort(order.begin(), order.end());
  const int64_t got = kernels.select_top(scores.data(), count, top, chosen.data());
  chosen.resize(std::max<int64_t>(got, 0));
  if (chosen != order) {
    fail(std::string(kernels.level) + " select_top: wrong choice of " + std::to_string(top) + " among " +
         std::to_string(count));
  }
}

}  // namespace

int main(int argc, char** argv) {
  return fuzz_levels(argc, argv, 40, [](const Kernels& kernels, Rng& rng) {
    for (int i = 0; i < 10; ++i) check_top_blocks(rng, kernels);
    for (int i = 0; i < 20; ++i) check_select(rng, kernels);
  });
}
