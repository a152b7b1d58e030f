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
//
// A sequence with one row may be left to the attention, which does it head by head while it computes: decoding, a phase
// that waits for all threads would take longer than its work. So may the queries of a sequence with many: they are read
// there anyway, and reading and writing them here once more takes longer than dressing them (measured: 17 us a token of
// SmolLM2 for all of this, 10 without the queries).
class Heads : public Operation {
 public:
  Heads(const Attention& attention, Dressing dressing, Buffer& qkv)
      : attention_(attention), dressing_(std::move(dressing)), qkv_(qkv) {}
  int64_t prepare(const Context& context) override;
  void run(const Context& context, int64_t chunk, Worker& worker) override;
  bool in_shares(const Context&) const override { return pieces_.size() >= 8; }

  bool is_of(const Attention& attention) const { return &attention_ == &attention; }
  void let_leave() { may_leave_ = true; }
  bool leaves(const SequenceStep& sequence) const {
    return may_leave_ && sequence.rows == 1 && dressing_.norm != 2;
  }
  // A sequence with so many rows in a step is computed in tiles.
  static constexpr int64_t kManyRows = 12;
  bool leaves_queries(const SequenceStep& sequence) const {
    return may_leave_ && sequence.rows >= kManyRows && dressing_.norm != 2;
  }
  // KV heads first ... first + count - 1.
  struct Some {
    int64_t first, count;
  };
  // Of `rows` rows whose queries are left: those of some KV heads, dressed, [rows, count * G, k_dim].
  void dress_queries(const Context& context, int64_t row, int64_t rows, const Some& heads, float* q);
  // The keys and values of some KV heads of a sequence that is left, in place, which then go into the part. Called once
  // for each head.
  void write_heads(const Context& context, const KvPart& part, const SequenceStep& sequence, const Some& heads,
                   Worker& worker);

 private:
  struct Piece {
    const SequenceStep* sequence;
    int64_t block;  // block index
    int64_t offset, tokens;
    int64_t row;
    int64_t then = -1;  // a piece that the same thread writes afterwards
  };

  void chain_tail(int64_t first);
  void take_tail(const KvPart& part, const Piece& piece, const Some& heads) const;
  void leave_tail(const KvPart& part, const Piece& piece, const Some& heads) const;
  bool by_channel() const { return attention_.parts.front().by_channel(); }
  int64_t tail_bytes(int64_t heads) const { return heads * element_bytes(Element::bf16, attention_.k_dim); }
  float* key(int64_t row, int64_t head) { return qkv_.row(row) + (attention_.query_heads + head) * attention_.k_dim; }
  float* value(int64_t row, int64_t head) { return key(row, attention_.kv_heads) + head * attention_.v_dim; }
  int64_t key_values() const { return attention_.kv_heads * (attention_.k_dim + attention_.v_dim); }  // of a row
  void dress(const Context& context, int64_t row, int64_t heads, float* q);
  void dress_keys(const Context& context, int64_t row, const Some& heads);
  void turn(const Context& context, float* heads, int64_t count, const std::vector<float>& norm, int64_t row);
  void write(const Context& context, const Piece& piece, Worker& worker);
  // Returns whether the block is full now; `id` is its place in the pool, -1 where nothing was written.
  bool write_part(const Context& context, const KvPart& part, const Piece& piece, const Some& heads, int64_t& id);
  void summarise(const Context& context, const KvPart& part, const Piece& piece, const Some& heads, int64_t block_id,
                 Worker& worker);

  const Attention& attention_;
  Dressing dressing_;
  Buffer& qkv_;
  bool may_leave_ = false;
  std::vector<Piece> pieces_;
};

}  // namespace windowtax
