#include "program/program.h"

#include <stdexcept>
#include <utility>

#include "levels.h"

namespace windowtax {

namespace {

const Kernels& kernels_or_throw(const std::string& level) {
  const Kernels* found = kernels_of(level);
  if (found == nullptr) throw std::invalid_argument("no kernels of level '" + level + "' run on this machine");
  return *found;
}

}  // namespace

Program::Program(const std::string& level, int num_threads) : kernels_(kernels_or_throw(level)), crew_(num_threads) {}

int Program::matrix(WeightFormat format, int64_t rows, int64_t columns, const uint8_t* data) {
  matrices_.push_back({format, rows, columns, data});
  return static_cast<int>(matrices_.size()) - 1;
}

int Program::buffer(int64_t columns, bool sampled) {
  buffers_.push_back(std::make_unique<Buffer>(columns, sampled));
  return static_cast<int>(buffers_.size()) - 1;
}

int Program::rotation(int64_t half) {
  rotations_.push_back(&add<Rotation>(static_cast<int64_t>(rotations_.size()), half));
  return static_cast<int>(rotations_.size()) - 1;
}

int Program::frequencies(int rotation, std::vector<float> inverse, float factor) {
  Rotation& found = *rotations_.at(rotation);
  if (static_cast<int64_t>(inverse.size()) != found.half()) throw std::invalid_argument("wrong number of frequencies");
  return found.add_table(std::move(inverse), factor);
}

int Program::attention(Attention attention) {
  attention.own_keys = &own_keys_;
  attentions_.push_back(std::move(attention));
  return static_cast<int>(attentions_.size()) - 1;
}

void Program::embed(int matrix, float scale, int out) { add<Embed>(matrices_.at(matrix), scale, at(out)); }

int Program::ready(int x, WeightFormat format, std::vector<float> norm, float eps) {
  Scratch& shared = ready_rows_[static_cast<int>(format)];
  Feeder* const before = last_;
  if (!readies_.empty() && &readies_.back()->x() == &at(x)) readies_.back()->let_read();  // two want the same rows
  Ready& ready = add<Ready>(at(x), format, std::move(norm), eps, shared);
  if (before && before->can_feed(at(x)) && !ready.normed()) {
    ready.let_feed(*before, fed_rows_[static_cast<int>(format)]);
    before->feed(ready);
  }
  readies_.push_back(&ready);
  return static_cast<int>(readies_.size()) - 1;
}

void Program::linear(int ready, int matrix, std::vector<float> bias, Ending ending, int out, int64_t column) {
  Linear& product = add<Linear>(*readies_.at(ready), matrices_.at(matrix), std::move(bias), ending, at(out), column);
  if (product_) product_->let_follow(product);
  last_ = product_ = &product;
}

void Program::heads(int attention, int norm, std::vector<float> q_norm, std::vector<float> k_norm, float eps,
                    int rotation, int qkv) {
  Dressing dressing{norm, std::move(q_norm), std::move(k_norm), eps,
                    rotation < 0 ? nullptr : rotations_.at(rotation)};
  last_heads_ = &add<Heads>(attentions_.at(attention), std::move(dressing), at(qkv));
}

void Program::attend(int attention, int qkv, int out) {
  product_ = nullptr;  // what is fetched before attention is gone behind it
  const Attention& found = attentions_.at(attention);
  if (!last_heads_ || !last_heads_->is_of(found)) throw std::invalid_argument("attend before heads");
  last_heads_->let_leave();
  if (found.top_blocks == 0) {
    last_ = &add<Attend>(found, *last_heads_, at(qkv), at(out));
    return;
  }
  TopBlocks& top = top_blocks_.emplace_back(found, *last_heads_, at(qkv), at(out));
  add<TopScore>(top);
  add<TopRead>(top);
}

void Program::norm_add(int x, std::vector<float> weight, float eps, int out) {
  add<NormAdd>(at(x), std::move(weight), eps, at(out));
}

void Program::gather(int x, int out) { add<Gather>(at(x), at(out)); }

void Program::head(int ready, int matrix, std::vector<float> bias, float cap, int out) {
  head_ = &add<Head>(*readies_.at(ready), matrices_.at(matrix), std::move(bias), cap, at(out));
}

std::vector<int64_t> Program::choose(const Step& step) {
  if (!head_) throw std::invalid_argument("choose without a head");
  run(Context{kernels_, step, num_threads(), true});
  return head_->chosen(step);
}

void Program::run(const Context& context) {
  chunks_.clear();
  for (const auto& operation : operations_) chunks_.push_back(operation->prepare(context));
  context_ = &context;
  crew_.run(*this);
  context_ = nullptr;
}

void Program::run(int64_t phase, int64_t chunk, Worker& worker) {
  operations_[phase]->run(*context_, chunk, worker);
}

int64_t Program::buffer_bytes() const {
  int64_t total = 0;
  for (const auto& buffer : buffers_) total += buffer->bytes();
  return total;
}

}  // namespace windowtax
