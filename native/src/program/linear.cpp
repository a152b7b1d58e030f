#include "program/linear.h"

#include <algorithm>

namespace windowtax {

namespace {

constexpr int64_t kBlockPanels = 8;   // of a chunk of many rows: enough to claim, and little to wait for
constexpr int64_t kManyPanels = 32;   // the same where multiply_into takes them: rows are read once per chunk
constexpr int64_t kPieceRows = 64;    // made ready at a time, give or take Ready::kFewRows: they stay in the cache
constexpr int64_t kChunksPerThread = 4;  // enough that a thread which was held up leaves its work to the others
constexpr int64_t kTileRows = 16;         // of a tile of AMX
constexpr int64_t kLeastBlockRows = 64;
constexpr int64_t kMostAhead = 1 << 20;   // bytes of the next weights: half of a second-level cache
constexpr int64_t kLeastBytes = 16384;   // a chunk's weights when rows are few: less would be all claiming

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void Ready::cut(const Context& context) {
  rows_ = x_.rows(context.step);
  const int64_t most = context.kernels.takes_many(format_, rows_) ? kManyBlockRows : kBlockRows;
  const int64_t shares = ceil_div(rows_, most * context.num_threads) * context.num_threads;
  const int64_t share = shares ? ceil_div(ceil_div(rows_, shares), 2 * kTileRows) * 2 * kTileRows : 0;
  block_rows_ = std::clamp(share, kLeastBlockRows, most);
  // The last block takes up to kFewRows more: that few would be made ready in another form.
  num_blocks_ = rows_ <= kFewRows ? 1 : 1 + (rows_ - kFewRows - 1) / block_rows_;
}

bool Ready::takes_feed(const Context& context) const {
  return from_ && context.kernels.takes_many(format_, x_.rows(context.step)) && from_->feeds(context);
}

uint16_t* Ready::tile_row(int64_t row) {
  const int64_t block = std::min(row / block_rows_, num_blocks_ - 1), within = row - block * block_rows_;
  const int64_t units = x_.columns() / kGroup;
  const int64_t place = within / kTileRows * units * kTileRows + within % kTileRows;
  return static_cast<uint16_t*>(room(block)) + place * kGroup;
}

Ready* Feeder::fed(const Context& context) const {
  return next_ && next_->takes_feed(context) ? next_ : nullptr;
}

bool Ready::in_shares(const Context&) const { return rows_ > kFewRows; }

int64_t Ready::prepare(const Context& context) {
  cut(context);
  if (rows_ <= kFewRows) return 0;
  block_bytes_ = (context.kernels.ready_bytes(format_, block_rows_ + kFewRows, x_.columns()) + 63) / 64 * 64;
  shared_->get(num_blocks_ * block_bytes_);
  return takes_feed(context) ? 0 : num_blocks_;
}

void Ready::run(const Context& context, int64_t chunk, Worker& worker) {
  make(context, block(chunk), room(chunk), worker);
}

const void* Ready::rows(const Context& context, int64_t index, Worker& worker) {
  if (rows_ > kFewRows) return room(index);
  void* ready = worker.ready.get(context.kernels.ready_bytes(format_, rows_, x_.columns()));
  if (worker.ready_owner != this) {
    make(context, block(index), ready, worker);
    worker.ready_owner = this;
  }
  return ready;
}

void Ready::make(const Context& context, const Rows& rows, void* ready, Worker& worker) {
  if (!context.kernels.takes_many(format_, rows.count)) return make_some(context, rows, ready, worker);
  // Tiles of rows lie one behind the other. The last piece takes a few more, which alone would take another form.
  const int64_t piece_bytes = context.kernels.ready_bytes(format_, kPieceRows, x_.columns());
  for (int64_t first = 0; first < rows.count;) {
    const int64_t left = rows.count - first, count = left <= kPieceRows + kFewRows ? left : kPieceRows;
    make_some(context, {rows.first + first, count}, static_cast<uint8_t*>(ready) + first / kPieceRows * piece_bytes,
              worker);
    first += count;
  }
}

void Ready::make_some(const Context& context, const Rows& rows, void* ready, Worker& worker) {
  const int64_t columns = x_.columns();
  const float* x = x_.row(rows.first);
  if (normed()) {
    float* normed = static_cast<float*>(worker.tile.get(rows.count * columns * static_cast<int64_t>(sizeof(float))));
    for (int64_t i = 0; i < rows.count; ++i) {
      context.kernels.rms_norm(x + i * columns, norm_.data(), eps_, columns, normed + i * columns);
    }
    x = normed;
  }
  context.kernels.make_ready(format_, x, columns, rows.count, columns, ready);
}

bool Linear::can_feed(const Buffer& x) const {
  return &x == &out_ && ending_ >= Ending::gated_silu && column_ == 0 && x.columns() % kGroup == 0 &&
         matrix_.rows == 2 * x.columns();
}

int64_t Linear::prepare(const Context& context) {
  const int64_t rows = ready_.x().rows(context.step), panels = matrix_.panels();
  if (!fed(context)) out_.fit(context.step);
  if (rows == 0) return 0;
  if (rows <= Ready::kFewRows) {
    const int64_t least = ceil_div(kLeastBytes, panel_bytes());
    panels_ = std::clamp(ceil_div(panels, kChunksPerThread * context.num_threads), least, 4 * least + 16);
  } else {
    const bool many = context.kernels.takes_many(matrix_.format, rows);
    panels_ = ceil_div(panels, ceil_div(panels, many ? kManyPanels : kBlockPanels));
  }
  panels_ += panels_ % 2;  // gate and up stay together
  panel_chunks_ = ceil_div(panels, panels_);
  return ready_.num_blocks() * panel_chunks_;
}

bool Linear::in_shares(const Context& context) const {
  return ready_.num_blocks() > 1 || ready_.x().rows(context.step) <= Ready::kFewRows;
}

Bytes Linear::first_read(const Context& context, int64_t chunk) const {
  if (ready_.x().rows(context.step) > Ready::kFewRows) return {};
  const int64_t first = chunk * panels_;
  // The product reads the chunk from as many places in turn (kernels/weights.h).
  const int64_t apart = std::min(panels_, matrix_.panels() - first) / kWeightStreams * panel_bytes();
  return {matrix_.data + first * panel_bytes(), std::min(kWeightsAhead / kWeightStreams, apart), apart};
}

// Of a chunk that begins with a panel, as much as is fetched before it is read.
Bytes Linear::weights(int64_t panel) const {
  const int64_t count = std::min(panels_, matrix_.panels() - panel);
  return {matrix_.data + panel * panel_bytes(), std::min(kMostAhead, count * panel_bytes())};
}

// What a thread that has done the panels before last_panel will multiply with next.
Bytes Linear::next_weights(int64_t last_panel) const {
  if (last_panel < matrix_.panels()) return weights(last_panel);
  return following_ ? following_->weights(0) : Bytes{};
}

void Linear::run(const Context& context, int64_t chunk, Worker& worker) {
  // Chunks that follow each other share their rows, so that these stay in the second-level cache.
  const int64_t block = chunk / panel_chunks_, first_panel = chunk % panel_chunks_ * panels_;
  const int64_t last_panel = std::min(matrix_.panels(), first_panel + panels_);
  const int64_t first = first_panel * kPanelRows, columns = (last_panel - first_panel) * kPanelRows;
  const int64_t count = std::min(matrix_.rows - first, columns);
  const auto [first_row, rows] = ready_.block(block);
  const void* ready = ready_.rows(context, block, worker);
  void* scratch = worker.kernel.get(context.kernels.multiply_scratch);
  if (context.kernels.takes_many(matrix_.format, rows)) {
    Ready* const feeds = fed(context);
    const Bytes next = next_weights(last_panel);
    const Finish finish{ending_,
                        bias_.empty() ? nullptr : bias_.data(),
                        feeds ? nullptr : out_.row(first_row) + column_,
                        out_.columns(),
                        out_.columns() - column_,
                        feeds ? feeds->room(block) : nullptr,
                        next.from,
                        next.count};
    context.kernels.multiply_into(matrix_, ready, rows, first_panel, last_panel, finish, scratch);
    ended(context, {first_row, rows}, first, count, worker);
    return;
  }
  float* product = static_cast<float*>(worker.tile.get(rows * columns * static_cast<int64_t>(sizeof(float))));
  context.kernels.multiply(matrix_, ready, rows, first_panel, last_panel, product, columns, scratch);
  for (int64_t i = 0; i < rows; ++i) end(context, first_row + i, first, count, product + i * columns, worker);
}

void Linear::add_bias(const Context& context, int64_t first, int64_t count, float* product) const {
  if (!bias_.empty()) context.kernels.add(bias_.data() + first, count, product);
}

void Linear::end(const Context& context, int64_t row, int64_t first, int64_t count, float* product, Worker&) {
  add_bias(context, first, count, product);
  if (ending_ == Ending::store) {
    std::copy(product, product + count, out_.row(row) + column_ + first);
  } else if (ending_ == Ending::add) {
    context.kernels.add(product, count, out_.row(row) + column_ + first);
  } else {
    const int activation = ending_ == Ending::gated_silu ? 0 : 1;
    int64_t column = column_ + first / 2;
    for (int64_t pair = 0; pair < count; pair += 2 * kPanelRows, column += kPanelRows) {
      const int64_t width = std::min(kPanelRows, out_.columns() - column);
      context.kernels.gated(activation, product + pair, product + pair + kPanelRows, width, out_.row(row) + column);
    }
  }
}

}  // namespace windowtax
