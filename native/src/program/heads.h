// Queries and keys get their norms and their positions, and keys and values go into the cache.

#pragma once

#include <utility>

#include "program/attention.h"
#include "program/rows.h"

namespace windowtax {

// How queries and keys are dressed before they meet. norm: 0 none, 1 per head, 2 over all heads at once.
struct Dressing {
  int norm = 0;
  std::vector<float> q_norm, k_norm;
  float eps = 0.0f;
  Rotation* rotation = nullptr;  // null: no positions
};

// qkv [rows, (query_heads + kv_heads) * k_dim + kv_heads * v_dim], in place; one chunk per block that is written.
class Heads : public Operation {
 public:
  Heads(const Attention& attention, Dressing dressing, Buffer& qkv)
      : attention_(attention), dressing_(std::move(dressing)), qkv_(qkv) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context&) const override { return pieces_.size() > 16; }

 private:
  struct Piece {
    const SequenceStep* sequence;
    int64_t block;  // block index
    int64_t offset, tokens;
    int64_t row;
    int64_t then = -1;  // a piece that the same thread writes afterwards
  };

  void chain_tail(int64_t first);
  void take_tail(const KvPart& part, const Piece& piece) const;
  void leave_tail(const KvPart& part, const Piece& piece) const;
  bool by_channel() const { return attention_.parts.front().by_channel(); }
  int64_t tail_bytes() const { return attention_.kv_heads * element_bytes(Element::bf16, attention_.k_dim); }
  void dress(const Context& context, int64_t row);
  void turn(const Context& context, float* heads, int64_t count, const std::vector<float>& norm, int64_t row);
  void write(const Context& context, const Piece& piece, Worker& worker);
  void summarise(const Context& context, const KvPart& part, const Piece& piece, int64_t block_id, Worker& worker);

  const Attention& attention_;
  Dressing dressing_;
  Buffer& qkv_;
  std::vector<Piece> pieces_;
};

}  // namespace windowtax
