// A program: the flat list of operations that one step of a model is. It is recorded once, from the model's spec, and
// replayed with one call per step, whatever the number of rows: nothing of Python runs in between (what a CUDA graph does
// for a GPU).

#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "program/attend.h"
#include "program/head.h"
#include "program/heads.h"
#include "program/linear.h"
#include "program/rows.h"
#include "program/top_blocks.h"

namespace windowtax {

class Program : private Work {
 public:
  // level: "" for the best that runs here. Throws std::invalid_argument for one that does not.
  Program(const std::string& level, int num_threads);

  const Kernels& kernels() const { return kernels_; }
  int num_threads() const { return crew_.num_threads(); }

  // What operations are made of. The numbers are names within this program.
  int matrix(WeightFormat format, int64_t rows, int64_t columns, const uint8_t* data);
  int buffer(int64_t columns, bool sampled);
  int rotation(int64_t half);
  int frequencies(int rotation, std::vector<float> inverse, float factor);
  int attention(Attention attention);

  // Operations, in the order in which they run.
  void embed(int matrix, float scale, int out);
  int ready(int x, WeightFormat format, std::vector<float> norm, float eps);
  void linear(int ready, int matrix, std::vector<float> bias, Ending ending, int out, int64_t column);
  void heads(int attention, int norm, std::vector<float> q_norm, std::vector<float> k_norm, float eps, int rotation,
             int qkv);
  void attend(int attention, int qkv, int out);
  void norm_add(int x, std::vector<float> weight, float eps, int out);
  void gather(int x, int out);
  void head(int ready, int matrix, std::vector<float> bias, float cap, int out);

  // One step; the logits are in the head's buffer then.
  void run(const Step& step) { run(Context{kernels_, step, num_threads()}); }
  // The same, but no logits are left: of each sampled row the largest, as Head::chosen says.
  std::vector<int64_t> choose(const Step& step);
  Buffer& at(int buffer) { return *buffers_.at(buffer); }
  int64_t num_operations() const { return static_cast<int64_t>(operations_.size()); }
  // Bytes that buffers take now.
  int64_t buffer_bytes() const;

 private:
  int64_t num_phases() const override { return num_operations(); }
  int64_t num_chunks(int64_t phase) const override { return chunks_[phase]; }
  bool in_shares(int64_t phase) const override { return operations_[phase]->in_shares(*context_); }
  void run(int64_t phase, int64_t chunk, Worker& worker) override;
  void run(const Context& context);
  Bytes first_read(int64_t phase, int64_t chunk) const override {
    return operations_[phase]->first_read(*context_, chunk);
  }

  template <typename T, typename... Arguments>
  T& add(Arguments&&... arguments) {
    auto operation = std::make_unique<T>(std::forward<Arguments>(arguments)...);
    T& found = *operation;
    last_ = nullptr;
    operations_.push_back(std::move(operation));
    return found;
  }

  const Kernels& kernels_;
  Crew crew_;
  std::vector<Matrix> matrices_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  OwnKeys own_keys_;
  std::deque<Attention> attentions_;
  std::deque<TopBlocks> top_blocks_;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<Rotation*> rotations_;
  std::vector<Ready*> readies_;
  Scratch ready_rows_[4];   // by format
  Scratch fed_rows_[4];     // those that a product leaves ready
  Feeder* last_ = nullptr;  // the operation before, where it can feed the next
  Linear* product_ = nullptr;  // the product before, where no attention lies between
  Heads* last_heads_ = nullptr;
  Head* head_ = nullptr;
  std::vector<int64_t> chunks_;
  const Context* context_ = nullptr;
};

}  // namespace windowtax
