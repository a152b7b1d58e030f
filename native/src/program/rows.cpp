#include "program/rows.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "program/pages.h"

namespace windowtax {

namespace {

constexpr int64_t kRowsPerChunk = 32;

int64_t chunks_of(int64_t rows) { return (rows + kRowsPerChunk - 1) / kRowsPerChunk; }

int64_t last_row(int64_t chunk, int64_t rows) { return std::min(rows, (chunk + 1) * kRowsPerChunk); }

}  // namespace

void Buffer::fit(const Step& step) {
  const int64_t need = rows(step) * columns_ * static_cast<int64_t>(sizeof(float));
  if (need <= bytes_) return;
  std::free(data_);
  bytes_ = need;
  data_ = static_cast<float*>(allocate_pages(need));
}

Buffer::~Buffer() { std::free(data_); }

int64_t Embed::prepare(const Context& context) {
  out_.fit(context.step);
  return chunks_of(context.step.rows());
}

void Embed::run(const Context& context, int64_t chunk, Worker&) {
  const int64_t end = last_row(chunk, context.step.rows());
  for (int64_t row = chunk * kRowsPerChunk; row < end; ++row) {
    context.kernels.unpack_row(table_, context.step.token_ids[row], out_.row(row));
    if (scale_ != 1.0f) context.kernels.scale(scale_, out_.columns(), out_.row(row));
  }
}

int32_t Rotation::add_table(std::vector<float> inverse_frequencies, float factor) {
  tables_.push_back({std::move(inverse_frequencies), factor});
  return static_cast<int32_t>(tables_.size()) - 1;
}

int64_t Rotation::prepare(const Context& context) {
  cos_.fit(context.step);
  sin_.fit(context.step);
  return static_cast<int64_t>(context.step.sequences.size());
}

void Rotation::run(const Context& context, int64_t chunk, Worker&) {
  const SequenceStep& sequence = context.step.sequences[chunk];
  const Frequencies& table = tables_[sequence.rotation[index_]];
  for (int64_t i = 0; i < sequence.rows; ++i) {
    float* cos = cos_.row(sequence.first_row + i);
    float* sin = sin_.row(sequence.first_row + i);
    const float position = static_cast<float>(sequence.start + i);
    for (size_t pair = 0; pair < table.inverse.size(); ++pair) {
      const float angle = position * table.inverse[pair];
      cos[pair] = std::cos(angle) * table.factor;
      sin[pair] = std::sin(angle) * table.factor;
    }
  }
}

int64_t NormAdd::prepare(const Context& context) {
  out_.fit(context.step);
  return chunks_of(x_.rows(context.step));
}

void NormAdd::run(const Context& context, int64_t chunk, Worker& worker) {
  const int64_t columns = x_.columns();
  float* normed = static_cast<float*>(worker.tile.get(columns * static_cast<int64_t>(sizeof(float))));
  const int64_t end = last_row(chunk, x_.rows(context.step));
  for (int64_t row = chunk * kRowsPerChunk; row < end; ++row) {
    context.kernels.rms_norm(x_.row(row), weight_.data(), eps_, columns, normed);
    context.kernels.add(normed, columns, out_.row(row));
  }
}

int64_t Gather::prepare(const Context& context) {
  out_.fit(context.step);
  return out_.rows(context.step) > 0 ? 1 : 0;
}

void Gather::run(const Context& context, int64_t, Worker&) {
  for (size_t i = 0; i < context.step.sampled.size(); ++i) {
    std::memcpy(out_.row(static_cast<int64_t>(i)), x_.row(context.step.sampled[i]),
                static_cast<size_t>(x_.columns()) * sizeof(float));
  }
}

}  // namespace windowtax
