// The step of products of many rows: a square of sums, two tiles of rows by two panels, in four tile registers.
//
// A step of four products takes 64 cycles and four loads of tiles; two of these must come from the first-level cache (a
// load starts every 8 cycles from there and every 16 from the second), then products hardly wait: 71 to 74 cycles a step,
// measured with loads, stores and numbers that are not zero. A store right behind its products waits for them, and what
// comes behind it soon waits too. So half of a square's sums are stored beside its last products and half beside the first
// of the next square.

#pragma once

#include "kernels/weights.h"
#include "kernels/weights_tiles.h"

#if defined(__AMX_TILE__)

WINDOWTAX_BEGIN_LEVEL
namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kBlockRows = 2 * kTileRows, kBlockColumns = 2 * kPanelRows;

// Where sums [kBlockRows][kBlockColumns] lie. stride: from row to row, in floats; 0 where all rows are the same.
struct SumsAt {
  float* at;
  int64_t stride;

  int64_t bytes() const { return stride * 4; }
  float* lower() const { return at + kTileRows * stride; }
};

// The lower half of a square's sums, in registers 2 and 3 and not stored yet; at: null where there are none.
struct Unstored {
  SumsAt to = {nullptr, 0};

  inline __attribute__((always_inline)) void store_left() const {
    if (to.at) TILE_STORE(2, to.lower(), to.bytes());
  }
  inline __attribute__((always_inline)) void store_right() const {
    if (to.at) TILE_STORE(3, to.lower() + kPanelRows, to.bytes());
  }
  void store() {
    store_left();
    store_right();
    to.at = nullptr;
  }
};

struct Square {
  const uint8_t *a0, *a1, *b0, *b1;  // tiles of rows and of panels, unit after unit
  int64_t units;
  SumsAt from, to;  // from.at: null for zeros
};

// Tiles of rows stay in the first-level cache, those of panels pass by it. `beside`: other work.
template <bool kFirst, typename Beside>
inline __attribute__((always_inline)) void run_step(const Square& s, int64_t at, const Unstored& before, Beside beside) {
  const bool last = at + kTileBytes == s.units * kTileBytes;
  TILE_LOAD_PAST(6, s.b0 + at, 64);
  TILE_LOAD(4, s.a0 + at, 64);
  if constexpr (kFirst) {
    if (s.from.at) TILE_LOAD_PAST(0, s.from.at, s.from.bytes());
    else TILE_ZERO(0);
  }
  TILE_BF16(0, 4, 6);
  TILE_LOAD_PAST(7, s.b1 + at, 64);
  if constexpr (kFirst) {
    if (s.from.at) TILE_LOAD_PAST(1, s.from.at + kPanelRows, s.from.bytes());
    else TILE_ZERO(1);
  }
  TILE_BF16(1, 4, 7);
  TILE_LOAD(5, s.a1 + at, 64);
  if constexpr (kFirst) {
    before.store_left();
    if (s.from.at) TILE_LOAD_PAST(2, s.from.lower(), s.from.bytes());
    else TILE_ZERO(2);
  }
  TILE_BF16(2, 5, 6);
  if (last) TILE_STORE(0, s.to.at, s.to.bytes());
  if constexpr (kFirst) {
    before.store_right();
    if (s.from.at) TILE_LOAD_PAST(3, s.from.lower() + kPanelRows, s.from.bytes());
    else TILE_ZERO(3);
  }
  TILE_BF16(3, 5, 7);
  if (last) TILE_STORE(1, s.to.at + kPanelRows, s.to.bytes());
  beside();
}

// Leaves the lower half of its own sums unstored. from may be where the square before goes.
template <typename Beside>
inline __attribute__((always_inline)) void run_square(const Square& s, Unstored& unstored, Beside beside) {
  run_step<true>(s, 0, unstored, beside);
  for (int64_t at = kTileBytes; at < s.units * kTileBytes; at += kTileBytes) run_step<false>(s, at, unstored, beside);
  unstored.to = s.to;
}

}  // namespace
WINDOWTAX_END_LEVEL

#endif
