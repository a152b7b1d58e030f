// Products of few rows with bf16 weights: AMX bf16 with fp32 sums, one tile of rows against four panels, so that four
// streams of weights arrive. Units are B tiles as they lie.

#include "kernels/weights.h"
#include "kernels/weights_tiles.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AMX_TILE__)

namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kPanels = 4;

// Panels panel ... panel + 3; those past the last one are the last once more, and not stored.
void multiply_four_panels(const Product& p, const Bf16Rows& x, int64_t panel) {
  const uint8_t* b[kPanels];
  for (int64_t i = 0; i < kPanels; ++i) b[i] = p.panel(smaller(panel + i, p.last - 1));
  TILE_ZERO(0);
  TILE_ZERO(1);
  TILE_ZERO(2);
  TILE_ZERO(3);
  const uint16_t* a = x.x;
  for (int64_t at = 0; at < x.units * kTileBytes; at += kTileBytes, a += x.height * kGroup) {
    for (const uint8_t* from : b) prefetch_ahead(from + at, kTileBytes);
    TILE_LOAD(4, a, 64);
    TILE_LOAD(6, b[0] + at, 64);
    TILE_BF16(0, 4, 6);
    TILE_LOAD(7, b[1] + at, 64);
    TILE_BF16(1, 4, 7);
    TILE_LOAD(6, b[2] + at, 64);
    TILE_BF16(2, 4, 6);
    TILE_LOAD(7, b[3] + at, 64);
    TILE_BF16(3, 4, 7);
  }
  float sums[kPanels][kTileRows][kRows];
  TILE_STORE(0, sums[0], 64);
  TILE_STORE(1, sums[1], 64);
  TILE_STORE(2, sums[2], 64);
  TILE_STORE(3, sums[3], 64);
  for (int64_t i = 0; i < kPanels && panel + i < p.last; ++i) {
    const __mmask16 mask = row_mask(p.width(panel + i, 1));
    for (int64_t row = 0; row < p.rows; ++row) {
      _mm512_mask_storeu_ps(p.column(panel + i) + row * p.out_stride, mask, _mm512_loadu_ps(sums[i][row]));
    }
  }
}

}  // namespace

void multiply_bf16_tiles(const Product& p) {
  const Bf16Rows x(p.ready, p.rows, p.matrix.columns);
  const Tiles tiles(x.height, 64, kColumns / 2);
  for (int64_t panel = p.first; panel < p.last; panel += kPanels) multiply_four_panels(p, x, panel);
}

#else

void multiply_bf16_tiles(const Product&) {}  // never chosen at this level

#endif

WINDOWTAX_END_LEVEL
