// Products with a weight matrix, and what is done on either side of them while the rows are in the cache.

#pragma once

#include <utility>

#include "program/operation.h"

namespace windowtax {

// What becomes of the product.
enum class Ending : int32_t {
  store = 0,
  add = 1,         // out += product: the residual stream
  gated_silu = 2,  // the matrix holds panels of gate and up in turn; out = act(gate) * up
  gated_gelu = 3,
};

// Activations of many rows made ready for products, shared by all threads. A phase of its own before Linear's.
class Ready : public Operation {
 public:
  // norm: the weight of an RMS norm that comes first; empty for none. shared: where the rows go; one for all operations
  // with the same format, because each is used up before the next one is made.
  Ready(Buffer& x, WeightFormat format, std::vector<float> norm, float eps, Scratch& shared)
      : x_(x), format_(format), norm_(std::move(norm)), eps_(eps), shared_(shared) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;

  // The most rows that are made ready together.
  static constexpr int64_t kBlockRows = 256;
  // Up to so many rows each thread makes its own copy: cheaper than to wait for each other.
  static constexpr int64_t kFewRows = 16;

  Buffer& x() { return x_; }
  // Rows of a block in this step: as many blocks as keep all threads busy, but none too small to multiply well.
  int64_t block_rows() const { return block_rows_; }
  // Rows first ... first + count - 1 (one block), ready: the shared copy, or the worker's own where there are few rows.
  const void* rows(const Context& context, int64_t first, int64_t count, Worker& worker);

 private:
  void make(const Context& context, int64_t first, int64_t count, void* ready, Worker& worker);

  Buffer& x_;
  WeightFormat format_;
  std::vector<float> norm_;
  float eps_;
  Scratch& shared_;
  int64_t block_bytes_ = 0;
  int64_t block_rows_ = kBlockRows;
};

// out = Ready rows times the matrix, plus bias, ended as asked.
class Linear : public Operation {
 public:
  // column: where in out's rows the product goes.
  Linear(Ready& ready, const Matrix& matrix, std::vector<float> bias, Ending ending, Buffer& out, int64_t column)
      : ready_(ready), matrix_(matrix), bias_(std::move(bias)), ending_(ending), out_(out), column_(column) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;

 private:
  void end(const Context& context, int64_t row, int64_t first, int64_t count, float* product);

  Ready& ready_;
  Matrix matrix_;
  std::vector<float> bias_;
  Ending ending_;
  Buffer& out_;
  int64_t column_;
  int64_t panels_ = 0;      // per chunk
  int64_t row_blocks_ = 0;  // of Ready::kBlockRows
};

}  // namespace windowtax
