#include "program/linear.h"

#include <algorithm>

namespace windowtax {

namespace {

constexpr int64_t kManyRowsPanels = 8;   // 128 columns: weights, rows and product of a chunk stay in the L2 cache
constexpr int64_t kChunksPerThread = 4;  // enough that a thread which was held up leaves its work to the others
constexpr int64_t kTileRows = 32;         // two tiles of AMX
constexpr int64_t kLeastBlockRows = 64;
constexpr int64_t kLeastBytes = 16384;   // a chunk's weights when rows are few: less would be all claiming

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t Ready::prepare(const Context& context) {
  const int64_t rows = x_.rows(context.step);
  const int64_t share = ceil_div(ceil_div(rows, 2 * context.num_threads), kTileRows) * kTileRows;
  block_rows_ = std::clamp(share, kLeastBlockRows, kBlockRows);
  if (rows <= kFewRows) return 0;
  block_bytes_ = (context.kernels.ready_bytes(format_, block_rows_, x_.columns()) + 63) / 64 * 64;
  const int64_t blocks = ceil_div(rows, block_rows_);
  shared_.get(blocks * block_bytes_);
  return blocks;
}

void Ready::run(const Context& context, int64_t chunk, Worker& worker) {
  const int64_t first = chunk * block_rows_;
  make(context, first, std::min(block_rows_, x_.rows(context.step) - first), shared_.data() + chunk * block_bytes_, worker);
}

const void* Ready::rows(const Context& context, int64_t first, int64_t count, Worker& worker) {
  if (x_.rows(context.step) > kFewRows) return shared_.data() + first / block_rows_ * block_bytes_;
  void* ready = worker.ready.get(context.kernels.ready_bytes(format_, count, x_.columns()));
  if (worker.ready_owner != this) {
    make(context, first, count, ready, worker);
    worker.ready_owner = this;
  }
  return ready;
}

void Ready::make(const Context& context, int64_t first, int64_t count, void* ready, Worker& worker) {
  const int64_t columns = x_.columns();
  const float* x = x_.row(first);
  if (!norm_.empty()) {
    float* normed = static_cast<float*>(worker.tile.get(count * columns * static_cast<int64_t>(sizeof(float))));
    for (int64_t i = 0; i < count; ++i) {
      context.kernels.rms_norm(x + i * columns, norm_.data(), eps_, columns, normed + i * columns);
    }
    x = normed;
  }
  context.kernels.make_ready(format_, x, columns, count, columns, ready);
}

int64_t Linear::prepare(const Context& context) {
  out_.fit(context.step);
  const int64_t rows = ready_.x().rows(context.step), panels = matrix_.panels();
  if (rows == 0) return 0;
  row_blocks_ = ceil_div(rows, ready_.block_rows());
  if (rows <= Ready::kFewRows) {
    const int64_t panel_bytes = matrix_.units() * unit_bytes(matrix_.format);
    const int64_t least = ceil_div(kLeastBytes, panel_bytes);
    panels_ = std::clamp(ceil_div(panels, kChunksPerThread * context.num_threads), least, 4 * least + 16);
  } else {
    panels_ = kManyRowsPanels;
  }
  panels_ += panels_ % 2;  // gate and up stay together
  return row_blocks_ * ceil_div(panels, panels_);
}

void Linear::run(const Context& context, int64_t chunk, Worker& worker) {
  // Chunks that follow each other share their weights, so that these come from memory once.
  const int64_t first_panel = chunk / row_blocks_ * panels_;
  const int64_t last_panel = std::min(matrix_.panels(), first_panel + panels_);
  const int64_t first_row = chunk % row_blocks_ * ready_.block_rows();
  const int64_t rows = std::min(ready_.block_rows(), ready_.x().rows(context.step) - first_row);
  const void* ready = ready_.rows(context, first_row, rows, worker);
  const int64_t columns = (last_panel - first_panel) * kPanelRows;
  float* product = static_cast<float*>(worker.tile.get(rows * columns * static_cast<int64_t>(sizeof(float))));
  void* scratch = worker.kernel.get(context.kernels.multiply_scratch);
  context.kernels.multiply(matrix_, ready, rows, first_panel, last_panel, product, columns, scratch);
  const int64_t first = first_panel * kPanelRows;
  const int64_t count = std::min(matrix_.rows - first, columns);
  for (int64_t i = 0; i < rows; ++i) end(context, first_row + i, first, count, product + i * columns);
}

void Linear::end(const Context& context, int64_t row, int64_t first, int64_t count, float* product) {
  if (!bias_.empty()) context.kernels.add(bias_.data() + first, count, product);
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
