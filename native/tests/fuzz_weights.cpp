// Weights at every level that runs here, against plain loops in double precision: random shapes, strides, ranges of
// panels.
// fuzz_weights [seed]; exit code 1 and a message on a mismatch.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "levels.h"

using namespace windowtax;

namespace {

std::mt19937_64 random_bits;

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }

std::vector<float> normal_numbers(int64_t count, float spread) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> numbers(static_cast<size_t>(count));
  for (float& x : numbers) x = normal(random_bits);
  return numbers;
}

[[noreturn]] void fail(const char* level, const char* what, WeightFormat format, int64_t rows, int64_t n, int64_t k,
                       double got, double want) {
  std::fprintf(stderr, "%s: %s: format %d, rows %lld, matrix %lld x %lld: got %.9g, want %.9g\n", level, what,
               static_cast<int>(format), static_cast<long long>(rows), static_cast<long long>(n),
               static_cast<long long>(k), got, want);
  std::exit(1);
}

// 64-byte aligned memory of exactly this size, so that the sanitizer sees a byte too far.
class Buffer {
 public:
  explicit Buffer(int64_t bytes) : data_(::operator new(static_cast<size_t>(bytes), std::align_val_t(64))) {
    std::memset(data_, 0xa5, static_cast<size_t>(bytes));
  }
  ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  uint8_t* get() const { return static_cast<uint8_t*>(data_); }

 private:
  void* data_;
};

struct Case {
  const Kernels& kernels;
  WeightFormat format;
  int64_t n, k;
  std::vector<float> weights;
  Buffer packed;
  std::vector<float> unpacked;

  Matrix matrix() const { return {format, n, k, packed.get()}; }
  Case(const Kernels& table, WeightFormat chosen, int64_t rows, int64_t columns)
      : kernels(table),
        format(chosen),
        n(rows),
        k(columns),
        weights(normal_numbers(rows * columns, 0.05f)),
        packed((rows + 15) / 16 * ((columns + 31) / 32) * unit_bytes(chosen)),
        unpacked(static_cast<size_t>(rows * columns)) {}
};

// Of codes made of floats.
int64_t greatest_code(WeightFormat format) {
  return format == WeightFormat::q8 ? 127 : format == WeightFormat::q5_least ? 31 : 15;
}

// Packs in two calls, as two threads would, and reads every row back: each number within half a step of its own.
void check_packing(Case& c) {
  const int64_t cut = between(0, c.n / 16) * 16;
  const int64_t panel_bytes = c.matrix().units() * unit_bytes(c.format);
  c.kernels.pack(c.format, c.weights.data(), cut, c.k, c.packed.get());
  c.kernels.pack(c.format, c.weights.data() + cut * c.k, c.n - cut, c.k, c.packed.get() + cut / 16 * panel_bytes);
  for (int64_t row = 0; row < c.n; ++row) c.kernels.unpack_row(c.matrix(), row, c.unpacked.data() + row * c.k);
  for (int64_t row = 0; row < c.n; ++row)
    for (int64_t first = 0; first < c.k; first += kGroup) {
      float low = INFINITY, high = -INFINITY, magnitude = 0;
      const int64_t last = std::min(first + kGroup, c.k);
      for (int64_t i = first; i < last; ++i) {
        const float w = c.weights[row * c.k + i];
        low = std::min(low, w), high = std::max(high, w), magnitude = std::max(magnitude, std::fabs(w));
      }
      if (last - first < kGroup) low = std::min(low, 0.0f), high = std::max(high, 0.0f);  // padding is packed as well
      // Without a least: half a step, and what the greatest code loses to the rounding of its scale (below 2^-14 fp16 is
      // coarse). With one a narrower range may clip its ends by some steps; the squared error is checked below.
      const double most = greatest_code(c.format);
      const double step = has_least(c.format) ? (high - low) / most : magnitude / most;
      double squares = 0;
      for (int64_t i = first; i < last; ++i) {
        const double want = c.weights[row * c.k + i], got = c.unpacked[row * c.k + i];
        const double bound = c.format == WeightFormat::f32    ? 0
                             : c.format == WeightFormat::bf16 ? std::fabs(want) / 256
                             : has_least(c.format)            ? step * 3
                                                              : step * 0.505 + magnitude * 0x1p-11 + most * 0x1p-25;
        if (std::fabs(got - want) > bound) fail(c.kernels.level, "pack", c.format, row, c.n, c.k, got, want);
        squares += (got - want) * (got - want);
      }
      if (has_least(c.format) && squares > kGroup * (step * step / 12 * 2.5 + 0x1p-44))
        fail(c.kernels.level, "squared error", c.format, row, c.n, c.k, squares, kGroup * step * step / 12);
    }
}

// Codes given come back as scale * code (+ least), exactly, scales being numbers that fp16 has.
void check_codes(const Kernels& kernels, WeightFormat format, int64_t n, int64_t k) {
  const int64_t groups = k / kGroup;
  std::vector<int8_t> codes(static_cast<size_t>(n * k));
  for (int8_t& code : codes)
    code = static_cast<int8_t>(format == WeightFormat::q8   ? between(-128, 127)
                               : format == WeightFormat::q5 ? between(-16, 15)
                                                            : between(0, greatest_code(format)));
  std::vector<float> scale, least;
  for (int64_t i = 0; i < n * groups; ++i) {
    scale.push_back(static_cast<float>(between(1, 2047)) * 0x1p-18f);
    least.push_back(static_cast<float>(between(-2047, 2047)) * 0x1p-15f);
  }
  Buffer packed((n + 15) / 16 * groups * unit_bytes(format));
  const bool leasts = has_least(format);
  kernels.pack_codes(format, codes.data(), scale.data(), leasts ? least.data() : nullptr, n, k, packed.get());
  std::vector<float> row(static_cast<size_t>(k));
  for (int64_t r = 0; r < n; ++r) {
    kernels.unpack_row({format, n, k, packed.get()}, r, row.data());
    for (int64_t i = 0; i < k; ++i) {
      const int64_t group = r * groups + i / kGroup;
      const double want = static_cast<double>(scale[group]) * codes[r * k + i] + (leasts ? least[group] : 0.0f);
      if (std::fabs(row[i] - want) > 1e-6 * std::fabs(want) + 1e-9)
        fail(kernels.level, "pack_codes", format, r, n, k, row[i], want);
    }
  }
}

// Of a sum of products, what rounding the activations (to bf16 or to 8 bits) may cost: a multiple of the root of the
// sum of the squares of single errors. f32 is exact but for the order of its sums.
double tolerance(const Case& c, const float* x, const float* w) {
  double magnitude = 0, squares = 0;
  for (int64_t first = 0; first < c.k; first += kGroup) {
    double greatest = 0, group = 0;
    for (int64_t i = first; i < std::min(first + kGroup, c.k); ++i) {
      greatest = std::max(greatest, std::fabs(static_cast<double>(x[i])));
      group += static_cast<double>(w[i]) * w[i];
      magnitude += std::fabs(static_cast<double>(x[i]) * w[i]);
    }
    squares += group * greatest * greatest;
  }
  if (c.format == WeightFormat::f32) return 1e-6 * magnitude + 1e-9;
  return std::sqrt(squares) / 254 * 4.5 + 1e-5 * magnitude + 1e-9;
}

void check_product(const Case& c, int64_t rows) {
  const int64_t panels = c.matrix().panels();
  const int64_t first = between(0, panels - 1), last = between(first + 1, panels);
  const int64_t stride = c.k + between(0, 3) * 5, width = std::min(c.n, last * 16) - first * 16;
  const int64_t out_stride = width + between(0, 2) * 7;
  std::vector<float> x = normal_numbers((rows - 1) * stride + c.k, 1.0f);
  for (float& value : x)
    if (between(0, 99) == 0) value *= 20.0f;
  std::vector<float> out(static_cast<size_t>((rows - 1) * out_stride + width), 77.0f);
  Buffer ready(c.kernels.ready_bytes(ready_as(c.format), rows, c.k)), scratch(c.kernels.multiply_scratch);
  c.kernels.make_ready(ready_as(c.format), x.data(), stride, rows, c.k, ready.get());
  c.kernels.multiply(c.matrix(), ready.get(), rows, first, last, out.data(), out_stride, scratch.get());
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < out_stride && row * out_stride + i < static_cast<int64_t>(out.size()); ++i) {
      const double got = out[row * out_stride + i];
      const float* w = c.unpacked.data() + (first * 16 + i) * c.k;
      double want = i < width ? 0.0 : 77.0, allowed = 0;
      for (int64_t j = 0; i < width && j < c.k; ++j) want += static_cast<double>(x[row * stride + j]) * w[j];
      if (i < width) allowed = tolerance(c, x.data() + row * stride, w);
      if (!(std::fabs(got - want) <= allowed)) fail(c.kernels.level, "multiply", c.format, rows, c.n, c.k, got, want);
    }
}

// What an ending makes of a product [n] of one row, in place of `out` [columns].
void ended(const Case& c, Ending ending, const std::vector<float>& bias, const float* product, float* out) {
  for (int64_t i = 0; i < c.n; ++i) {
    const auto biased = [&](int64_t at) { return static_cast<double>(product[at]) + (bias.empty() ? 0.0f : bias[at]); };
    if (ending == Ending::store) out[i] = static_cast<float>(biased(i));
    if (ending == Ending::add) out[i] = static_cast<float>(out[i] + biased(i));
    if (ending < Ending::gated_silu || i % 32 >= 16) continue;
    const double gate = biased(i), up = biased(i + 16);
    const double inner = std::sqrt(2 / std::acos(-1.0)) * (gate + 0.044715 * gate * gate * gate);
    const double act = ending == Ending::gated_silu ? gate / (1 + std::exp(-gate)) : gate / 2 * (1 + std::tanh(inner));
    out[i / 32 * 16 + i % 16] = static_cast<float>(act * up);
  }
}

// multiply_into in calls of a few panels: what `multiply` gives, ended; and, gated, the same rows made ready.
void check_ending(Case& c, int64_t rows) {
  if (!c.kernels.takes_many(c.format, rows)) return;
  const auto ending = static_cast<Ending>(between(0, 3));
  const bool gated = ending >= Ending::gated_silu;
  if (gated && c.n % 32) return;
  const int64_t columns = gated ? c.n / 2 : c.n, stride = columns + between(0, 2) * 7, panels = c.matrix().panels();
  const std::vector<float> x = normal_numbers(rows * c.k, 1.0f);
  const std::vector<float> bias = between(0, 1) ? normal_numbers(c.n, 1.0f) : std::vector<float>();
  std::vector<float> out = normal_numbers(rows * stride, 1.0f), want = out, product(static_cast<size_t>(rows * c.n));
  Buffer ready(c.kernels.ready_bytes(ready_as(c.format), rows, c.k)), scratch(c.kernels.multiply_scratch);
  const int64_t next_bytes = c.kernels.ready_bytes(WeightFormat::bf16, rows, columns);
  Buffer next(next_bytes), next_want(next_bytes);
  c.kernels.make_ready(ready_as(c.format), x.data(), c.k, rows, c.k, ready.get());
  c.kernels.multiply(c.matrix(), ready.get(), rows, 0, panels, product.data(), c.n, scratch.get());
  const bool feeds = gated && columns % 32 == 0;
  for (int64_t first = 0, last; first < panels; first = last) {
    last = std::min(panels, first + 2 * between(1, between(0, 1) ? 4 : 40));
    Finish finish = {ending, bias.empty() ? nullptr : bias.data(), out.data(), stride, columns, nullptr};
    finish.next = c.matrix().data;
    finish.next_bytes = between(0, 2) * 1000;
    c.kernels.multiply_into(c.matrix(), ready.get(), rows, first, last, finish, scratch.get());
    finish.ready = next.get();
    if (feeds) c.kernels.multiply_into(c.matrix(), ready.get(), rows, first, last, finish, scratch.get());
  }
  for (int64_t row = 0; row < rows; ++row) {
    ended(c, ending, bias, product.data() + row * c.n, want.data() + row * stride);
  }
  // What is added to comes first in the kernel's sums and last here.
  const bool begun = ending == Ending::add || !bias.empty();
  const double order = 1e-6 + (begun ? 2e-7 * std::sqrt(static_cast<double>(c.k)) : 0.0);
  for (size_t i = 0; i < out.size(); ++i) {
    const bool right = std::fabs(out[i] - want[i]) <= 2e-5 * std::fabs(want[i]) + order;
    if (!right) fail(c.kernels.level, "multiply_into", c.format, rows, c.n, c.k, out[i], want[i]);
  }
  if (!feeds) return;
  c.kernels.make_ready(WeightFormat::bf16, out.data(), stride, rows, columns, next_want.get());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < columns; ++i) {
      const int64_t at = ((row / 16 * (columns / 32) + i / 32) * 16 + row % 16) * 64 + i % 32 * 2;
      if (std::memcmp(next.get() + at, next_want.get() + at, 2))
        fail(c.kernels.level, "rows left ready", c.format, rows, c.n, c.k, next.get()[at], next_want.get()[at]);
    }
  }
}

void check_level(const Kernels& kernels, int rounds) {
  constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::q8,
                                       WeightFormat::q4,  WeightFormat::q5,   WeightFormat::q5_least};
  constexpr int64_t kRows[] = {1, 2, 3, 4, 5, 8, 11, 16, 17, 31, 33, 48, 50, 65, 97};
  for (int round = 0; round < rounds; ++round)
    for (const WeightFormat format : kFormats) {
      const int64_t k = round % 8 == 7 ? between(2000, 4900) : round % 2 ? between(1, 12) * 32 : between(1, 400);
      // Long rows, many panels, or of both a few.
      const int64_t n = round % 8 == 7   ? between(1, 40)
                        : round % 8 == 6 ? between(27, 40) * 32
                        : round % 3      ? between(1, 150)
                                         : between(1, 6) * 32;
      Case c(kernels, format, n, k);
      check_packing(c);
      for (int i = 0; i < 4; ++i) check_product(c, kRows[between(0, std::size(kRows) - 1)]);
      for (const int64_t rows : {17, 32, 50, 97, 272, 300}) check_ending(c, rows);
      if (format >= WeightFormat::q8) check_codes(kernels, format, between(1, 60), between(1, 5) * kGroup);
    }
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  for (const Level& level : levels()) {
    if (!level.runs) {
      std::printf("%s: not run, %s\n", level.name.c_str(), level.why_not.c_str());
      continue;
    }
    random_bits.seed(seed);
    check_level(*kernels_of(level.name), 24);
    std::printf("%s: ok\n", level.name.c_str());
  }
  return 0;
}
