// The gauge for Python: operations per second of a level's best instruction, and bytes read per second, by several threads.

#include <nanobind/stl/string.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bind/bind.h"
#include "levels.h"
#include "program/pages.h"

namespace nb = nanobind;

namespace windowtax {

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point began) { return std::chrono::duration<double>(Clock::now() - began).count(); }

const Kernels& kernels_named(const std::string& level) {
  const Kernels* found = kernels_of(level);
  if (!found) throw std::invalid_argument("the level " + level + " does not run here");
  return *found;
}

// Calls work(thread) in all threads at once.
template <typename F>
void in_threads(int threads, const F& work) {
  std::vector<std::thread> others;
  for (int index = 1; index < threads; ++index) others.emplace_back([&work, index] { work(index); });
  work(0);
  for (std::thread& other : others) other.join();
}

int kind_of(const std::string& element) {
  if (element == "fp32") return 0;
  if (element == "bf16") return 1;
  if (element == "int8") return 2;
  throw std::invalid_argument("the gauge multiplies fp32, bf16 and int8");
}

// The best of the short samples that fit into so many seconds, all threads together; 0 where the level has no such
// instruction.
double multiply(const std::string& level, const std::string& element, int threads, double seconds) {
  const Kernels& kernels = kernels_named(level);
  const int kind = kind_of(element);
  if (kernels.gauge_multiply(kind, 1) == 0) return 0;
  const Clock::time_point began = Clock::now();
  double best = 0;
  for (int64_t rounds = 20'000; since(began) < seconds;) {
    std::atomic<int64_t> done{0};
    const Clock::time_point start = Clock::now();
    in_threads(threads, [&](int) { done += kernels.gauge_multiply(kind, rounds); });
    const double took = since(start);
    best = std::max(best, static_cast<double>(done) / took);
    if (took < 0.01) rounds *= 2;
  }
  return best;
}

// The same for reading a working set of so many bytes again and again, each thread its own part.
double read(int64_t bytes, int threads, double seconds) {
  const Kernels& kernels = kernels_named("");
  // On large pages, as weights and caches are, and written, or every page would be the same one of zeros.
  const std::unique_ptr<void, void (*)(void*)> data(allocate_pages(bytes), std::free);
  std::memset(data.get(), 1, bytes);
  const uint8_t* base = static_cast<const uint8_t*>(data.get());
  const int64_t part = bytes / threads / 256 * 256;
  std::atomic<uint64_t> sink{0};
  const Clock::time_point began = Clock::now();
  double best = 0;
  bool apart = false;  // in turn: from memory two places are faster, from caches one
  for (int64_t rounds = 1; since(began) < seconds || apart || best == 0; apart = !apart) {
    const Clock::time_point start = Clock::now();
    in_threads(threads, [&](int index) {
      for (int64_t i = 0; i < rounds; ++i) sink += kernels.gauge_read(base + index * part, part, apart);
    });
    const double took = since(start);
    best = std::max(best, static_cast<double>(rounds * part * threads) / took);
    if (took < 0.005) rounds *= 2;
  }
  return best;
}

}  // namespace

void bind_gauge(nb::module_& module) {
  nb::module_ gauge = module.def_submodule("gauge", "What this machine reads and multiplies.");
  gauge.def("multiply", &multiply, nb::arg("level"), nb::arg("element"), nb::arg("threads"), nb::arg("seconds"),
            nb::call_guard<nb::gil_scoped_release>(),
            "Operations per second of a level's best instruction for fp32, bf16 or int8; 0 where it has none.");
  gauge.def("read", &read, nb::arg("bytes"), nb::arg("threads"), nb::arg("seconds"),
            nb::call_guard<nb::gil_scoped_release>(), "Bytes per second, of a working set of so many bytes.");
}

}  // namespace windowtax
