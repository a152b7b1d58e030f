// Operations on rows: embedding, RoPE angles, a norm that is added, the choice of sampled rows.

#pragma once

#include <utility>

#include "program/operation.h"

namespace windowtax {

// out[row] = table[token id of row] * scale.
class Embed : public Operation {
 public:
  Embed(const Matrix& table, float scale, Buffer& out) : table_(table), scale_(scale), out_(out) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context&) const override { return true; }

 private:
  Matrix table_;
  float scale_;
  Buffer& out_;
};

// cos and sin [rows, half] of the step's positions for one RoPE. A scaling that depends on the length has a table per
// length, so each sequence says which one is its own (SequenceStep::rotation).
class Rotation : public Operation {
 public:
  Rotation(int64_t index, int64_t half) : index_(index), cos_(half, false), sin_(half, false) {}
  int32_t add_table(std::vector<float> inverse_frequencies, float factor);
  int64_t half() const { return cos_.columns(); }
  const float* cos(int64_t row) { return cos_.row(row); }
  const float* sin(int64_t row) { return sin_.row(row); }
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;

 private:
  struct Frequencies {
    std::vector<float> inverse;
    float factor;
  };
  int64_t index_;
  Buffer cos_, sin_;
  std::vector<Frequencies> tables_;
};

// out += norm(x): the norms behind attention and MLP in Gemma's layers.
class NormAdd : public Operation {
 public:
  NormAdd(Buffer& x, std::vector<float> weight, float eps, Buffer& out)
      : x_(x), weight_(std::move(weight)), eps_(eps), out_(out) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context&) const override { return true; }

 private:
  Buffer& x_;
  std::vector<float> weight_;
  float eps_;
  Buffer& out_;
};

// out = the sampled rows of x.
class Gather : public Operation {
 public:
  Gather(Buffer& x, Buffer& out) : x_(x), out_(out) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;

 private:
  Buffer& x_;
  Buffer& out_;
};

}  // namespace windowtax
