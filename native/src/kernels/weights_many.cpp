// Products of many rows: AMX bf16 with fp32 sums. bf16 units are B tiles as they lie; q8 and q4 units are widened to
// such tiles in scratch, once for up to 288 rows.
//
// A block is two tiles of rows by two panels, in four sum registers. What limits it are the loads of tiles: four
// products take 64 cycles, four loads from the second-level cache 77 to 90. So two panels stay in the first-level cache
// (kSpan units of them at a time) while rows stream past it (measured: 77 cycles for four products, 103 where rows drive
// the panels out). The block before is ended meanwhile, some rows after each step: vectors and tiles overlap.

#include "kernels/activation.h"
#include "kernels/weights.h"
#include "kernels/weights_tiles.h"
#include "kernels/weights_widen.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AMX_TILE__)

namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kSpan = 20;
constexpr int64_t kBlockRows = 2 * kTileRows, kBlockColumns = 2 * kPanelRows;
constexpr int64_t kMostBlocks = 9;  // of rows at a time

using Sums = float[kBlockRows][kBlockColumns];

struct Scratch {
  alignas(64) Sums between[kMostBlocks];  // of spans
  alignas(64) Sums done[2];
  alignas(64) uint8_t tiles[2 * kSpan * kTileBytes];
};
static_assert(sizeof(Scratch) <= kScratchBytes);

// Columns `first` ... of the matrix's rows, as many as the masks say.
struct Place {
  int64_t first;
  __mmask16 low, high;
};

__mmask16 mask_of(int64_t width) { return width > 0 ? row_mask(width) : __mmask16(0); }

inline void end_plain(const Finish& f, const Place& place, int64_t row, __m512 low, __m512 high, bool add) {
  float* const out = f.out + row * f.out_stride + place.first;
  if (add) {
    low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(place.low, out));
    high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(place.high, out + kPanelRows));
  }
  _mm512_mask_storeu_ps(out, place.low, low);
  _mm512_mask_storeu_ps(out + kPanelRows, place.high, high);
}

inline void end_gated(const Finish& f, const Place& place, int64_t row, __m512 gate, __m512 up, int activation) {
  const __m512 x = _mm512_mul_ps(activated_lanes(activation, gate), up);
  const int64_t column = place.first / 2;
  if (!f.ready) {
    _mm512_mask_storeu_ps(f.out + row * f.out_stride + column, mask_of(f.columns - column), x);
    return;
  }
  const int64_t tile = row / kTileRows * (f.columns / kGroup) + column / kGroup;
  const __m256bh codes = _mm512_cvtneps_pbh(x);
  memcpy(static_cast<uint16_t*>(f.ready) + (tile * kTileRows + row % kTileRows) * kGroup + column % kGroup, &codes,
         sizeof codes);
}

// A block whose sums are done, on its way out.
struct Pending {
  const float* sums;
  int64_t row, end;  // the next row and the one past the last, of all activations
  Place place;
};

template <Ending kEnding>
inline __attribute__((always_inline)) void end_rows(const Finish& f, Pending& pending, int64_t count) {
  for (; count > 0 && pending.row < pending.end; --count, ++pending.row, pending.sums += kBlockColumns) {
    __m512 low = _mm512_load_ps(pending.sums), high = _mm512_load_ps(pending.sums + kPanelRows);
    if (f.bias) {
      const float* const bias = f.bias + pending.place.first;
      low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(pending.place.low, bias));
      high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(pending.place.high, bias + kPanelRows));
    }
    if constexpr (kEnding == Ending::gated_silu || kEnding == Ending::gated_gelu) {
      end_gated(f, pending.place, pending.row, low, high, kEnding == Ending::gated_silu ? 0 : 1);
    } else {
      end_plain(f, pending.place, pending.row, low, high, kEnding == Ending::add);
    }
  }
}

// Weights that come next, brought into the second-level cache: some lines at every step.
struct Fetch {
  const uint8_t* at;
  const uint8_t* end;
  int64_t step;  // bytes

  void operator()() {
    for (int64_t i = 0; i < step && at < end; i += 64, at += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
    }
  }
};

// Two tiles of rows against the tiles of two panels.
struct Block {
  const uint8_t *a0, *a1, *b0, *b1;
  int64_t units;
  const float* from;  // the sums so far, or null
  float* to;
};

template <typename Beside>
inline __attribute__((always_inline)) void run_block(const Block& block, Beside beside) {
  constexpr int64_t kHalf = kTileRows * kBlockColumns, kStride = kBlockColumns * 4;
  if (const float* from = block.from) {
    TILE_LOAD_PAST(0, from, kStride);
    TILE_LOAD_PAST(1, from + kPanelRows, kStride);
    TILE_LOAD_PAST(2, from + kHalf, kStride);
    TILE_LOAD_PAST(3, from + kHalf + kPanelRows, kStride);
  } else {
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
  }
  for (int64_t at = 0; at < block.units * kTileBytes; at += kTileBytes) {
    TILE_LOAD(6, block.b0 + at, 64);
    TILE_LOAD_PAST(4, block.a0 + at, 64);
    TILE_BF16(0, 4, 6);
    TILE_LOAD(7, block.b1 + at, 64);
    TILE_BF16(1, 4, 7);
    beside();
    TILE_LOAD_PAST(5, block.a1 + at, 64);
    TILE_BF16(2, 5, 6);
    TILE_BF16(3, 5, 7);
  }
  TILE_STORE(0, block.to, kStride);
  TILE_STORE(1, block.to + kPanelRows, kStride);
  TILE_STORE(2, block.to + kHalf, kStride);
  TILE_STORE(3, block.to + kHalf + kPanelRows, kStride);
}

// What does not change during a call.
struct Call {
  const Matrix& matrix;
  const Bf16Rows x;
  int64_t rows, last_panel;
  const Finish& finish;
  Scratch& scratch;
  const Widener widener;

  const uint8_t* weights(int64_t panel, int64_t unit) const {
    return matrix.data + (panel * x.units + unit) * unit_bytes(matrix.format);
  }
  const uint8_t* row_tile(int64_t tile, int64_t unit) const {
    return reinterpret_cast<const uint8_t*>(x.x) + (smaller(tile, x.tiles - 1) * x.units + unit) * kTileBytes;
  }
  Place place(int64_t panel) const {
    const int64_t first = panel * kPanelRows;
    const int64_t beyond = panel + 1 < last_panel ? matrix.rows - first - kPanelRows : 0;
    return {first, mask_of(matrix.rows - first), mask_of(beyond)};
  }
  // Units first ... first + count - 1 of a panel as tiles.
  const uint8_t* tiles(int64_t panel, int64_t first, int64_t count, int64_t half) const {
    const uint8_t* from = weights(smaller(panel + half, last_panel - 1), first);
    if (matrix.format == WeightFormat::bf16) return from;
    uint8_t* const to = scratch.tiles + half * kSpan * kTileBytes;
    for (int64_t i = 0; i < count; ++i, from += unit_bytes(matrix.format)) {
      matrix.format == WeightFormat::q8 ? widener.q8(from, to + i * kTileBytes) : widener.q4(from, to + i * kTileBytes);
    }
    return to;
  }
};

// Two panels against blocks first ... last - 1 of rows.
template <Ending kEnding>
void run_panels(const Call& call, int64_t panel, int64_t first, int64_t last, Pending& pending) {
  const int64_t units = call.x.units, spans = (units + kSpan - 1) / kSpan, span = (units + spans - 1) / spans;
  const int64_t size = unit_bytes(call.matrix.format), panels = call.matrix.panels();
  const uint8_t* const next = call.weights(smaller(panel + 2, panels), 0);
  Fetch fetch = {next, call.weights(smaller(panel + 4, panels), 0),
                 (2 * size / (last - first) + 63) / 64 * 64};
  const int64_t rows_per_step = (kBlockRows + span - 1) / span;
  for (int64_t from = 0; from < units; from += span) {
    const int64_t count = smaller(span, units - from);
    const bool done = from + count == units;
    const uint8_t* const b0 = call.tiles(panel, from, count, 0);
    const uint8_t* const b1 = call.tiles(panel, from, count, 1);
    for (int64_t i = first; i < last; ++i) {
      float* const between = call.scratch.between[i - first][0];
      float* const to = done ? call.scratch.done[i & 1][0] : between;
      const uint8_t *const a0 = call.row_tile(2 * i, from), *const a1 = call.row_tile(2 * i + 1, from);
      run_block({a0, a1, b0, b1, count, from ? between : nullptr, to}, [&]() __attribute__((always_inline)) {
        fetch();
        end_rows<kEnding>(call.finish, pending, rows_per_step);
      });
      if (!done) continue;
      end_rows<kEnding>(call.finish, pending, kBlockRows);
      pending = {to, i * kBlockRows, smaller((i + 1) * kBlockRows, call.rows), call.place(panel)};
    }
  }
}

template <Ending kEnding>
void run(const Call& call, int64_t first_panel) {
  const int64_t blocks = (call.x.tiles + 1) / 2;
  Pending pending = {nullptr, 0, 0, {0, 0, 0}};
  for (int64_t first = 0; first < blocks; first += kMostBlocks) {
    const int64_t last = smaller(blocks, first + kMostBlocks);
    for (int64_t panel = first_panel; panel < call.last_panel; panel += 2) {
      run_panels<kEnding>(call, panel, first, last, pending);
    }
  }
  end_rows<kEnding>(call.finish, pending, kBlockRows);
}

}  // namespace

void multiply_into(const Matrix& matrix, const void* ready, int64_t rows, int64_t first_panel, int64_t last_panel,
                   const Finish& finish, void* scratch) {
  const Tiles tiles(kTileRows, 64, kColumns / 2);
  const Call call = {matrix, Bf16Rows(ready, rows, matrix.columns), rows, last_panel, finish,
                     *static_cast<Scratch*>(scratch), {}};
  switch (finish.ending) {
    case Ending::store:
      return run<Ending::store>(call, first_panel);
    case Ending::add:
      return run<Ending::add>(call, first_panel);
    case Ending::gated_silu:
      return run<Ending::gated_silu>(call, first_panel);
    case Ending::gated_gelu:
      return run<Ending::gated_gelu>(call, first_panel);
  }
}

#else

void multiply_into(const Matrix&, const void*, int64_t, int64_t, int64_t, const Finish&, void*) {}  // takes_many: never

#endif

WINDOWTAX_END_LEVEL
