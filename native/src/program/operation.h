// One operation of a program: it cuts its work on a step into chunks, and computes a chunk.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"
#include "program/crew.h"
#include "program/step.h"

namespace windowtax {

// Rows of float32 that operations read and write: one row per token of the step, or one per sampled token.
class Buffer {
 public:
  Buffer(int64_t columns, bool sampled) : columns_(columns), sampled_(sampled) {}

  int64_t columns() const { return columns_; }
  int64_t rows(const Step& step) const {
    return sampled_ ? static_cast<int64_t>(step.sampled.size()) : step.rows();
  }
  float* row(int64_t index) { return data_ + index * columns_; }
  // Makes room for the step's rows.
  void fit(const Step& step);
  int64_t bytes() const { return bytes_; }
  ~Buffer();

 private:
  int64_t columns_;
  bool sampled_;
  float* data_ = nullptr;
  int64_t bytes_ = 0;
};

struct Context {
  const Kernels& kernels;
  const Step& step;
  int num_threads;
  bool chooses = false;  // of logits only the largest of each row is wanted
};

class Operation {
 public:
  virtual ~Operation() = default;
  // Called before each step, by one thread; returns the number of chunks.
  virtual int64_t prepare(const Context& context) = 0;
  virtual void run(const Context& context, int64_t chunk, Worker& worker) = 0;
  // Whether chunks, in their order, go through the step's rows: then a thread takes the same part of them every time.
  virtual bool in_shares(const Context&) const { return false; }
  // What a chunk reads first, where no operation writes it.
  virtual Bytes first_read(const Context&, int64_t) const { return {}; }
};

}  // namespace windowtax
