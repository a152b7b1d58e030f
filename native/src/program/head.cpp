#include "program/head.h"

#include <algorithm>
#include <cmath>

namespace windowtax {

int64_t Head::prepare(const Context& context) {
  if (context.chooses) {
    largest_.resize(context.num_threads);
    for (auto& rows : largest_) rows.assign(context.step.sampled.size(), {-INFINITY, INT64_MAX});
  }
  return Linear::prepare(context);
}

void Head::end(const Context& context, int64_t row, int64_t first, int64_t count, float* product, Worker& worker) {
  add_bias(context, first, count, product);
  if (cap_ != 0.0f) context.kernels.softcap(cap_, count, product);
  if (context.chooses) return look(context, row, first, count, product, worker);
  std::copy(product, product + count, out().row(row) + first);
}

void Head::ended(const Context& context, const Ready::Rows& rows, int64_t first, int64_t count, Worker& worker) {
  for (int64_t row = rows.first; row < rows.first + rows.count; ++row) {
    float* const x = out().row(row) + first;
    if (cap_ != 0.0f) context.kernels.softcap(cap_, count, x);
    if (context.chooses) look(context, row, first, count, x, worker);
  }
}

void Head::look(const Context& context, int64_t row, int64_t first, int64_t count, const float* x, Worker& worker) {
  Largest& best = largest_[worker.index][row];
  const float greatest = context.kernels.greatest(x, count);
  if (!Largest{greatest, first}.before(best)) return;
  best = {greatest, first + (std::find(x, x + count, greatest) - x)};
}

std::vector<int64_t> Head::chosen(const Step& step) const {
  std::vector<int64_t> columns;
  for (size_t row = 0; row < step.sampled.size(); ++row) {
    Largest best = largest_[0][row];
    for (const auto& rows : largest_) best = rows[row].before(best) ? rows[row] : best;
    columns.push_back(best.value != best.value ? -1 : best.column);
  }
  return columns;
}

}  // namespace windowtax
