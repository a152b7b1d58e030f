// Products of many rows: AMX bf16 with fp32 sums. bf16 units are B tiles as they lie; units of codes are widened to
// such tiles in scratch, once for all rows of the call.
//
// The tiles of some panels stay in the second-level cache (a part), a block of rows in the first-level one (kSpan units
// of it at a time) while the panels pass. So a row's results are written side by side, weights are widened and fetched
// once for all rows, and rows may come from far away: they are read once for all panels of the part. Sums of plain
// products begin as what is there already (the residual stream, bias, the sums of units before) and are stored by tiles
// where they belong; gates and ups go by way of scratch, and the square before is gated beside the products of the next.

#include "kernels/activation.h"
#include "kernels/weights_square.h"
#include "kernels/weights_widen.h"

WINDOWTAX_BEGIN_LEVEL

#if defined(__AMX_TILE__)

namespace {

constexpr int64_t kSpan = 20;       // units of a block of rows in the first-level cache: 40 KiB, all that there are
constexpr int64_t kSomeUnits = 16;  // or 32 KiB of more (152 units of 56 panels: 114 ticks a step, with 19 units 134)
constexpr int64_t kMostPairs = 27;  // of panels in a part
constexpr int64_t kMostTiles = 2 * kMostPairs * kSpan;

using Sums = float[kBlockRows][kBlockColumns];

struct Scratch {
  alignas(64) uint8_t tiles[kMostTiles * kTileBytes];  // of a part, [panel][unit]
  alignas(64) Sums between[kMostPairs];                // of gates and ups, from span to span
  alignas(64) Sums done[2];
  alignas(64) Sums edge;
  alignas(64) float bias[kMostPairs][kBlockColumns];
};
static_assert(sizeof(Scratch) <= kScratchBytes);

// Columns `first` ... of the matrix's rows, as many as the masks say.
struct Place {
  int64_t first;
  __mmask16 low, high;
};

__mmask16 mask_of(int64_t width) { return width > 0 ? row_mask(width) : __mmask16(0); }

constexpr bool is_gated(Ending ending) { return ending == Ending::gated_silu || ending == Ending::gated_gelu; }

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

// A square of gates and ups whose sums are done, on its way out.
struct Pending {
  const float* sums = nullptr;
  int64_t row = 0, end = 0;  // the next row and the one past the last, of all activations
  Place place = {0, 0, 0};
};

template <Ending kEnding>
inline __attribute__((always_inline)) void end_rows(const Finish& f, Pending& pending, int64_t count) {
  for (; count > 0 && pending.row < pending.end; --count, ++pending.row, pending.sums += kBlockColumns) {
    const __m512 gate = _mm512_load_ps(pending.sums), up = _mm512_load_ps(pending.sums + kPanelRows);
    end_gated(f, pending.place, pending.row, gate, up, kEnding == Ending::gated_silu ? 0 : 1);
  }
}

// What does not change during a call.
struct Call {
  const Matrix& matrix;
  const Bf16Rows x;
  int64_t rows, last_panel;
  const Finish& finish;
  Scratch& scratch;
  const Widener widener;

  bool widens() const { return matrix.format != WeightFormat::bf16; }
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
  // Of the block, how many rows there are.
  int64_t rows_of(int64_t block) const { return smaller(kBlockRows, rows - block * kBlockRows); }
  SumsAt out(const Place& place, int64_t block) const {
    return {finish.out + block * kBlockRows * finish.out_stride + place.first, finish.out_stride};
  }
};

// Panels and units whose tiles are in the second-level cache.
struct Part {
  int64_t panel, last_panel, unit, last_unit, span;

  int64_t pair(int64_t of) const { return (of - panel) / 2; }
  int64_t pairs() const { return pair(last_panel + 1); }
};

void widen(const Call& call, const Part& part) {
  const int64_t size = unit_bytes(call.matrix.format);
  uint8_t* to = call.scratch.tiles;
  for (int64_t panel = part.panel; panel < part.last_panel; ++panel) {
    const uint8_t* from = call.weights(panel, part.unit);
    for (int64_t unit = part.unit; unit < part.last_unit; ++unit, to += kTileBytes, from += size) {
      prefetch_ahead(from, size);
      call.widener.unit(call.matrix.format, from, to);
    }
  }
}

// The part's tiles of a panel, from a unit on; past the last panel those of the last, which are not stored.
const uint8_t* panel_tiles(const Call& call, const Part& part, int64_t panel, int64_t unit) {
  panel = smaller(panel, part.last_panel - 1);
  if (!call.widens()) return call.weights(panel, unit);
  const int64_t units = part.last_unit - part.unit;
  return call.scratch.tiles + ((panel - part.panel) * units + unit - part.unit) * kTileBytes;
}

void copy_bias(const Call& call, const Part& part) {
  for (int64_t panel = part.panel; panel < part.last_panel; panel += 2) {
    const Place place = call.place(panel);
    const float* const from = call.finish.bias + place.first;
    float* const to = call.scratch.bias[part.pair(panel)];
    _mm512_store_ps(to, _mm512_maskz_loadu_ps(place.low, from));
    _mm512_store_ps(to + kPanelRows, _mm512_maskz_loadu_ps(place.high, from + kPanelRows));
  }
}

// A square at the edge of the rows or columns takes its sums by way of scratch: what is in out, where it adds to that,
// and bias.
void edge_in(const Call& call, const Place& place, int64_t block, bool adds, const float* bias) {
  const SumsAt out = call.out(place, block);
  for (int64_t row = 0; row < call.rows_of(block); ++row) {
    const float* const from = out.at + row * out.stride;
    float* const to = call.scratch.edge[row];
    __m512 low = bias ? _mm512_load_ps(bias) : _mm512_setzero_ps();
    __m512 high = bias ? _mm512_load_ps(bias + kPanelRows) : _mm512_setzero_ps();
    if (adds) low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(place.low, from));
    if (adds) high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(place.high, from + kPanelRows));
    _mm512_store_ps(to, low);
    _mm512_store_ps(to + kPanelRows, high);
  }
}

void edge_out(const Call& call, const Place& place, int64_t block) {
  const SumsAt out = call.out(place, block);
  for (int64_t row = 0; row < call.rows_of(block); ++row) {
    float* const to = out.at + row * out.stride;
    const float* const from = call.scratch.edge[row];
    _mm512_mask_storeu_ps(to, place.low, _mm512_load_ps(from));
    _mm512_mask_storeu_ps(to + kPanelRows, place.high, _mm512_load_ps(from + kPanelRows));
  }
}

// Memory that is read later, brought into the second-level cache some lines at a time beside the products: a tile that
// is loaded from behind it holds them up by a hundred cycles, and a line that is on its way by five.
struct Fetch {
  const uint8_t *at = nullptr, *end = nullptr;
  int64_t lines = 0;  // per step

  Fetch() = default;
  Fetch(const uint8_t* from, int64_t bytes, int64_t steps)
      : at(from), end(from + bytes), lines((bytes / 64 + steps - 1) / steps) {}

  inline __attribute__((always_inline)) void step() {
    for (int64_t i = 0; i < lines && at < end; ++i, at += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
    }
  }
};

// What goes on from square to square.
struct Flow {
  Fetch weights, rows[2];  // of the next call, and of the next block, tile by tile
  Pending pending;
  Unstored unstored;
  int turn = 0;  // of the two `done`

  inline __attribute__((always_inline)) void fetch() {
    weights.step();
    rows[0].step();
    rows[1].step();
  }
};

template <Ending kEnding>
inline void run_gated(const Call& call, int64_t block, int64_t panel, Square& square, bool last,
                      Flow& flow) {
  const int64_t rows_per_step = (kBlockRows + square.units - 1) / square.units;
  if (last) square.to.at = call.scratch.done[flow.turn ^= 1][0];
  run_square(square, flow.unstored, [&]() __attribute__((always_inline)) {
    end_rows<kEnding>(call.finish, flow.pending, rows_per_step);
    flow.fetch();
  });
  if (!last) return;
  end_rows<kEnding>(call.finish, flow.pending, kBlockRows);
  const int64_t row = block * kBlockRows;
  flow.pending = {square.to.at, row, row + call.rows_of(block), call.place(panel)};
}

// Where the results of the next square go: for each row two lines, which nobody has in a cache yet. They are asked for,
// some rows at a time, beside the products of the square before.
struct Ahead {
  SumsAt at;
  int64_t row, rows;  // the next row and all of them

  void ask(int64_t count) {
    for (const int64_t end = smaller(rows, row + count); row < end; ++row) {
      const char* const line = reinterpret_cast<const char*>(at.at + row * at.stride);
      _mm_prefetch(line, _MM_HINT_ET0);
      _mm_prefetch(line + 64, _MM_HINT_ET0);
    }
  }
};

Ahead ahead_of(const Call& call, const Part& part, int64_t block, int64_t panel) {
  const bool turns = panel + 2 >= part.last_panel;
  if (turns) ++block, panel = part.panel - 2;
  return {call.out(call.place(panel + 2), block), 0, smaller(kBlockRows, call.rows - block * kBlockRows)};
}

inline void run_plain(const Call& call, int64_t block, int64_t panel, Square& square, bool adds, Ahead ahead,
                      Flow& flow) {
  const Place place = call.place(panel);
  float* const bias = square.from.at;
  if (call.rows_of(block) == kBlockRows && place.high == 0xffff && !(adds && bias)) {
    square.to = call.out(place, block);
    if (adds) square.from = square.to;
    const int64_t rows_per_step = (kBlockRows + square.units - 1) / square.units;
    return run_square(square, flow.unstored, [&]() __attribute__((always_inline)) {
      ahead.ask(rows_per_step);
      flow.fetch();
    });
  }
  flow.unstored.store();
  edge_in(call, place, block, adds, bias);
  square.from = square.to = {call.scratch.edge[0], kBlockColumns};
  run_square(square, flow.unstored, [] {});
  flow.unstored.store();
  edge_out(call, place, block);
}

// A block of rows against the part's panels, a span of units from `from` on.
template <Ending kEnding>
void run_span(const Call& call, const Part& part, int64_t block, int64_t from, Flow& flow) {
  const int64_t count = smaller(part.span, part.last_unit - from);
  const bool first = from == 0, last = from + count == call.x.units;
  const uint8_t *const a0 = call.row_tile(2 * block, from), *const a1 = call.row_tile(2 * block + 1, from);
  for (int64_t panel = part.panel; panel < part.last_panel; panel += 2) {
    float* const bias = first && call.finish.bias ? call.scratch.bias[part.pair(panel)] : nullptr;
    const uint8_t* const b0 = panel_tiles(call, part, panel, from);
    const uint8_t* const b1 = panel_tiles(call, part, panel + 1, from);
    const SumsAt between = {call.scratch.between[part.pair(panel)][0], kBlockColumns};
    if constexpr (is_gated(kEnding)) {
      Square square = {a0, a1, b0, b1, count, first ? SumsAt{bias, 0} : between, between};
      run_gated<kEnding>(call, block, panel, square, last, flow);
    } else {
      Square square = {a0, a1, b0, b1, count, {bias, 0}, between};
      const bool adds = kEnding == Ending::add || !first;
      run_plain(call, block, panel, square, adds, ahead_of(call, part, block, panel), flow);
    }
  }
}

// The part's units of the block of rows behind `block`, during that.
void fetch_rows(const Call& call, const Part& part, int64_t block, Flow& flow) {
  const int64_t units = part.last_unit - part.unit, steps = units * part.pairs();
  for (int64_t i = 0; i < 2; ++i) {
    flow.rows[i] = {call.row_tile(2 * block + 2 + i, part.unit), units * kTileBytes, steps};
  }
}

template <Ending kEnding>
void run(const Call& call, int64_t first_panel) {
  const int64_t blocks = (call.x.tiles + 1) / 2, units = call.x.units;
  const int64_t spans = units <= kSpan ? 1 : (units + kSomeUnits - 1) / kSomeUnits, span = (units + spans - 1) / spans;
  Flow flow;
  flow.weights = {call.finish.next, call.finish.next_bytes, blocks * units * ((call.last_panel - first_panel + 1) / 2)};
  for (int64_t panel = first_panel; panel < call.last_panel; panel += 2 * kMostPairs) {
    Part part = {panel, smaller(call.last_panel, panel + 2 * kMostPairs), 0, 0, span};
    const int64_t room = kMostTiles / (part.last_panel - panel) / span * span;
    if (call.finish.bias) copy_bias(call, part);
    for (; part.unit < units; part.unit = part.last_unit) {
      part.last_unit = smaller(units, part.unit + room);
      if (call.widens()) widen(call, part);
      for (int64_t block = 0; block < blocks; ++block) {
        if (block + 1 < blocks) fetch_rows(call, part, block, flow);
        for (int64_t from = part.unit; from < part.last_unit; from += span) {
          run_span<kEnding>(call, part, block, from, flow);
        }
      }
    }
  }
  flow.unstored.store();
  if constexpr (is_gated(kEnding)) end_rows<kEnding>(call.finish, flow.pending, kBlockRows);
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
