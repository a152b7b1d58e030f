// What the fuzz tests of attention share: random numbers and failing.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "levels.h"

using Rng = std::mt19937_64;

inline int64_t pick(Rng& rng, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(rng);
}

template <typename T>
T one_of(Rng& rng, std::initializer_list<T> of) {
  return of.begin()[pick(rng, 0, int64_t(of.size()) - 1)];
}

inline std::vector<float> normal(Rng& rng, int64_t count, float scale = 1) {
  std::normal_distribution<float> draw(0, scale);
  std::vector<float> x(count);
  for (float& value : x) value = draw(rng);
  return x;
}

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// Calls check(kernels, rng) for every level that runs here, `rounds` times each. Arguments of main: [seed] [rounds].
template <typename Check>
int fuzz_levels(int argc, char** argv, int64_t rounds, Check check) {
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  if (argc > 2) rounds = std::strtoll(argv[2], nullptr, 10);
  for (const windowtax::Level& level : windowtax::levels()) {
    if (!level.runs) {
      std::printf("%s: not run, %s\n", level.name.c_str(), level.why_not.c_str());
      continue;
    }
    Rng rng(seed);
    for (int64_t round = 0; round < rounds; ++round) check(*windowtax::kernels_of(level.name), rng);
    std::printf("%s: %lld rounds agree\n", level.name.c_str(), static_cast<long long>(rounds));
  }
  return 0;
}
