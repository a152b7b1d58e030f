// Products with a weight matrix, and what is done on either side of them while the rows are in the cache.

#pragma once

#include <utility>

#include "program/operation.h"

namespace windowtax {

class Ready;

// An operation that may leave its results ready for the product behind it, in place of rows in a buffer.
class Feeder : public Operation {
 public:
  // Whether all of `x` comes from here, in a form that can be left ready; and for which product.
  virtual bool can_feed(const Buffer& x) const = 0;
  void feed(Ready& next) { next_ = &next; }
  // Whether it can in this step.
  virtual bool feeds(const Context& context) const = 0;

 protected:
  // The rows to fill in this step, or null: the buffer's.
  Ready* fed(const Context& context) const;

 private:
  Ready* next_ = nullptr;
};

// Activations of many rows made ready for products, shared by all threads. A phase of its own before Linear's, but where
// the operation before it leaves them so (see Feeder).
class Ready : public Operation {
 public:
  // norm: the weight of an RMS norm that comes first; empty for none. shared: where the rows go; one for all operations
  // with the same format, because each is used up before the next one is made.
  Ready(Buffer& x, WeightFormat format, std::vector<float> norm, float eps, Scratch& shared)
      : x_(x), format_(format), norm_(std::move(norm)), eps_(eps), shared_(&shared) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context& context) const override;

  // The most rows of a block, give or take kFewRows: so many stay in the second-level cache while panels pass; and where
  // panels stay there (multiply_into).
  static constexpr int64_t kBlockRows = 256;
  static constexpr int64_t kManyBlockRows = 2048;
  // Up to so many rows each thread makes its own copy: cheaper than to wait for each other.
  static constexpr int64_t kFewRows = 16;

  // Rows first ... first + count - 1.
  struct Rows {
    int64_t first, count;
  };

  Buffer& x() { return x_; }
  bool normed() const { return !norm_.empty(); }
  // The blocks of rows in this step: as many as keep all threads busy, but none too small to multiply well.
  int64_t num_blocks() const { return num_blocks_; }
  Rows block(int64_t index) const {
    const int64_t first = index * block_rows_;
    return {first, (index + 1 < num_blocks_ ? first + block_rows_ : rows_) - first};
  }
  // A block, ready: the shared copy, or the worker's own where there are few rows.
  const void* rows(const Context& context, int64_t index, Worker& worker);

  // The operation before makes the rows ready in steps of many rows, into room of their own; takes_feed: in this one.
  void let_feed(const Feeder& from, Scratch& room) {
    shared_ = &room;
    from_ = &from;
  }
  void let_read() { from_ = nullptr; }
  bool takes_feed(const Context& context) const;
  void* room(int64_t index) { return shared_->data() + index * block_bytes_; }
  // Where a row begins in tiles of bf16.
  uint16_t* tile_row(int64_t row);

 private:
  void cut(const Context& context);
  void make(const Context& context, const Rows& rows, void* ready, Worker& worker);
  void make_some(const Context& context, const Rows& rows, void* ready, Worker& worker);

  Buffer& x_;
  WeightFormat format_;
  std::vector<float> norm_;
  float eps_;
  Scratch* shared_;
  const Feeder* from_ = nullptr;
  int64_t rows_ = 0, block_rows_ = kBlockRows, num_blocks_ = 0, block_bytes_ = 0;
};

// out = Ready rows times the matrix, plus bias, ended as asked.
class Linear : public Feeder {
 public:
  // column: where in out's rows the product goes.
  Linear(Ready& ready, const Matrix& matrix, std::vector<float> bias, Ending ending, Buffer& out, int64_t column)
      : ready_(ready), matrix_(matrix), bias_(std::move(bias)), ending_(ending), out_(out), column_(column) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context& context) const override;
  Bytes first_read(const Context& context, int64_t chunk) const override;

  bool can_feed(const Buffer& x) const override;  // what is gated
  bool feeds(const Context&) const override { return true; }
  // The product whose weights are read next.
  void let_follow(const Linear& following) { following_ = &following; }

 protected:
  // Ends one row's product, columns first ... first + count - 1 of it.
  virtual void end(const Context& context, int64_t row, int64_t first, int64_t count, float* product, Worker& worker);
  // Called when the same columns of many rows were ended into the buffer at once.
  virtual void ended(const Context&, const Ready::Rows&, int64_t, int64_t, Worker&) {}
  void add_bias(const Context& context, int64_t first, int64_t count, float* product) const;
  Buffer& out() { return out_; }

 private:
  int64_t panel_bytes() const { return matrix_.units() * unit_bytes(matrix_.format); }
  Bytes weights(int64_t panel) const;
  Bytes next_weights(int64_t last_panel) const;

  Ready& ready_;
  const Matrix matrix_;
  std::vector<float> bias_;
  Ending ending_;
  Buffer& out_;
  int64_t column_;
  const Linear* following_ = nullptr;
  int64_t panels_ = 0;        // per chunk
  int64_t panel_chunks_ = 0;  // per block of rows
};

}  // namespace windowtax
