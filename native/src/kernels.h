// What the kernels promise. One table of functions per instruction-set level; the program (program.h) calls through it.
//
// Shapes are written [rows, columns], row-major unless a comment says otherwise. All buffers belong to the caller, are
// 64-byte aligned where they come from us, and never overlap unless said. Kernels keep no state and start no threads.

#pragma once

#include <cstddef>
#include <cstdint>

namespace windowtax {

// Tokens per KV block, and rows of a matrix per panel. Fixed: they are the shapes of the vector and tile registers.
constexpr int64_t kBlockTokens = 32;
constexpr int64_t kPanelRows = 16;
constexpr int64_t kGroup = 32;  // weights per scale
constexpr int kWeightStreams = 2;         // places of a matrix that a product of few rows reads in turn
constexpr int64_t kWeightsAhead = 12288;  // bytes of a matrix that are on their way while the ones before are multiplied

// ---------------------------------------------------------------------------------------------------------------------
// Weights
// ---------------------------------------------------------------------------------------------------------------------

// How the numbers of a weight matrix are kept.
//   q8: w = scale * q, q in -127..127.   q4: w = scale * q + least, q in 0..15.   q5: w = scale * q, q in -16..15.
//   q5_least: w = scale * q + least, q in 0..31.   scale and least are fp16 per kGroup columns of a row.
enum class WeightFormat : int32_t { f32 = 0, bf16 = 1, q8 = 2, q4 = 3, q5 = 4, q5_least = 5 };

constexpr bool has_least(WeightFormat format) {
  return format == WeightFormat::q4 || format == WeightFormat::q5_least;
}

// Blocks of a quantised GGUF tensor (gguf.h, kernels/blocks.cpp).
enum class BlockType : uint8_t { q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k };

// A packed matrix [rows, columns]: panels of kPanelRows rows; in a panel, units of kGroup columns, one after the other.
// A unit holds its 16 x 32 numbers so that one vector load takes the same column(s) of all 16 rows, which is also the B
// tile of AMX, and behind them its 16 scales (fp16), and behind those its 16 leasts (fp16) where the format has them:
//   f32   [32 k][16 n]             2048 bytes
//   bf16  [16 k pairs][16 n][2]    1024 bytes
//   q8    [8 k quads][16 n][4]     512 + 32 bytes
//   q4    256 + 32 + 32 bytes      nibbles in an order that the kernels choose; pack and unpack agree on it
//   q5    256 + 64 + 32 bytes      nibbles, and then the fifth bits; the same of them
//   q5_least  256 + 64 + 32 + 32 bytes
// Rows past the last and columns past the last are zero.
struct Matrix {
  WeightFormat format;
  int64_t rows;
  int64_t columns;
  const uint8_t* data;

  int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  int64_t units() const { return (columns + kGroup - 1) / kGroup; }  // per panel
};

constexpr int64_t unit_bytes(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return 2048;
    case WeightFormat::bf16:
      return 1024;
    case WeightFormat::q8:
      return 544;
    case WeightFormat::q4:
      return 320;
    case WeightFormat::q5:
      return 352;
    case WeightFormat::q5_least:
      return 384;
  }
  return 0;
}

// The format whose ready rows (make_ready) a matrix reads: one of each kind, so that matrices may share them.
constexpr WeightFormat ready_as(WeightFormat format) {
  return format == WeightFormat::q5         ? WeightFormat::q8
         : format == WeightFormat::q5_least ? WeightFormat::q4
                                            : format;
}

// What becomes of the product x of a matrix.
enum class Ending : int32_t {
  store = 0,
  add = 1,         // out += x: the residual stream
  gated_silu = 2,  // the matrix holds panels of gate and up in turn; out = act(gate) * up
  gated_gelu = 3,
};

// Where products go. Matrix row n of activation row r: column n, where gated 16 * (n / 32) + n % 16, of the row at
// out + r * out_stride, which has `columns` columns from there on.
struct Finish {
  Ending ending;
  const float* bias;  // [matrix rows], or null
  float* out;
  int64_t out_stride;
  int64_t columns;
  void* ready;  // gated only, or null: in place of out, the rows made ready for a matrix of `columns` columns, which
                // must be a multiple of 32 and their format one that multiply_into takes
  const uint8_t* next = nullptr;  // weights that the caller will multiply with next, fetched beside these products
  int64_t next_bytes = 0;
};

// ---------------------------------------------------------------------------------------------------------------------
// Keys and values
// ---------------------------------------------------------------------------------------------------------------------

// What one stored number of a plane is. i8: one fp32 scale per token and head in the plane's scale plane, x = scale * q.
// i4: values only; per token and head a scale and a middle in fp16, x = scale * q + middle, q in -8..7. i4_channel: keys
// only; per block, head and channel a scale and a least value in fp16, x = scale * q + least, q in 0..15. f8 is e4m3
// (fn), without a scale.
enum class Element : int32_t { f32 = 0, f16 = 1, bf16 = 2, f8 = 3, i8 = 4, i4 = 5, i4_channel = 6 };

// One plane of one layer: block b begins at base + b * block_bytes.
struct Plane {
  uint8_t* base;
  int64_t block_bytes;
};

// The keys and values of one layer (one part of it: sinks and window are two views).
//
// Inside a block everything of one KV head lies together, head after head: block bytes = kv_heads * head bytes.
// Arrangement of keys, so that a vector holds one token per lane, and a key block is the B tile of Q K^T:
//   16-bit  [2 token halves][k_dim / 2][16 tokens][2]     (k_dim even)
//   f32     [2 token halves][k_dim][16 tokens]
//   f8, i8  [2 token halves][k_dim / 4][16 tokens][4]     (k_dim a multiple of 4)
//   i4_channel: half the bytes of i8; nibble order is the kernels' own
// Arrangement of values, so that a vector holds one channel per lane, and a value block is the B tile of P V:
//   16-bit  [16 token pairs][v_dim][2]
//   f32     [32 tokens][v_dim]
//   f8, i8  [8 token quads][v_dim][4]
//   i4      half the bytes of i8; nibble order is the kernels' own
// Scale planes: k_scale, v_scale of i8: fp32 [kv_heads][32 tokens]. v_scale of i4: fp16 [kv_heads][2][32 tokens]:
// scales, then middles. k_scale of i4_channel: fp16 [kv_heads][2][k_dim]: scales, then
// leasts; its blocks have ids of their own (see append, ChannelBlocks).
// Tokens of a block that are not written yet hold anything finite or not; kernels never let them reach a result.
struct KvView {
  Element k_element, v_element;
  int64_t kv_heads, k_dim, v_dim;
  Plane k, v, k_scale, v_scale;

  // The same of heads first ... first + count - 1 alone.
  KvView heads(int64_t first, int64_t count) const;
};

// Bytes of one head in one block of a plane.
int64_t element_bytes(Element element, int64_t dim);  // of 32 tokens x dim numbers
int64_t scale_bytes(Element element, int64_t dim);    // of their scales; 0 without

// For i4_channel: where the block's scales lie (pool id in the k_scale plane), and keys in bf16, arranged as bf16 key
// blocks, [kv_heads][...]. A block is quantised when its last token is written; a query reads its own block from the
// bf16 keys, finished or not, and earlier ones from their codes, so that what it sees does not depend on how many tokens
// came with it.
struct ChannelBlocks {
  const int32_t* scale_ids;  // by block index, as `ids` below
  uint8_t* tail;             // null for other elements
  int64_t tail_block;        // the block index (as in ids) that the tail holds, -1: none; a TilePart's tail holds all
                             // blocks from there on, one behind the other
};

// Keys at consecutive positions, block by block: ids[i] is the pool block of the i-th block read. Of the first block
// only tokens from `begin` on are read, of the last only those before `end` (1..32); the blocks between are read whole.
struct Run {
  const int32_t* ids;
  int64_t count;
  int64_t begin;
  int64_t end;
  ChannelBlocks channels;
  int64_t more = 0;  // so many ids behind `count` are probably read next by the same thread: worth fetching
};

// KV heads first ... first + count - 1, and the `group` query heads of each.
struct HeadSpan {
  int64_t first, count, group;

  int64_t rows() const { return count * group; }
};

// The softmax so far of G query heads: m [G] the greatest score, l [G] the sum of exp(score - m), o [G, v_dim] the
// weighted sum. Starts as m = -infinity, l = 0, o = 0. lse = m + log(l); the result is o / l.
struct Softmax {
  float* m;
  float* l;
  float* o;
};

// A tile of prefill: queries at positions start ... start + tokens - 1 of the G query heads of one KV head.
// q: token t, head g at q + t * token_stride + g * k_dim, already multiplied by the softmax scale.
// Part i of the keys covers positions first ... first + 32 * count - 1 (ids by block), of which a query at p reads
// those in [low, high): low = max(part.low, window ? p - window + 1 : 0, chunk ? p - p % chunk : 0),
// high = min(part.high, earlier ? p - p % 32 : p + 1). For the sinks' part, window is 0.
struct TilePart {
  const KvView* view;
  const int32_t* ids;
  int64_t first;  // position of the first token of ids[0], a multiple of 32
  int64_t count;
  int64_t low, high;
  int64_t window, chunk;
  ChannelBlocks channels;
  bool earlier;  // only blocks before the query's own
};

struct Tile {
  const float* q;
  int64_t token_stride;
  int64_t start, tokens;
  int64_t group;  // G
  int64_t head;   // the KV head
  const TilePart* parts;
  int64_t num_parts;
  float softcap;  // 0: none
  const float* sink_logits;  // [G], or null: one logit per head that joins the softmax and reads nothing
  float* out;                // token t, head g at out + t * out_stride + g * v_dim
  int64_t out_stride;
  // Or null: in place of out, per token where its row begins among rows made ready for a matrix whose format
  // multiply_into takes, and the column there of head 0. v_dim is a multiple of 16 then, and nothing is in f32.
  uint16_t* const* ready = nullptr;
  int64_t ready_column = 0;
};

// ---------------------------------------------------------------------------------------------------------------------
// The table
// ---------------------------------------------------------------------------------------------------------------------

struct Kernels {
  const char* level;

  // --- weights (kernels/weights.cpp) ---

  // Packs float32 [rows, columns] into `out` (panels() * units() * unit_bytes). pack_codes takes codes as they are: codes
  // [rows, columns] in the format's range, scale and least [rows, columns / 32] float32 (least null where it has none).
  void (*pack)(WeightFormat format, const float* values, int64_t rows, int64_t columns, uint8_t* out);
  void (*pack_codes)(WeightFormat format, const int8_t* codes, const float* scale, const float* least, int64_t rows,
                     int64_t columns, uint8_t* out);
  // Blocks of a file -> codes [count * numbers of a block], scale and least (where their format has it) [... / 32].
  void (*read_blocks)(BlockType type, const uint8_t* blocks, int64_t count, int8_t* codes, float* scale, float* least);
  // Row `row` of the matrix in float32 [columns].
  void (*unpack_row)(const Matrix& matrix, int64_t row, float* out);

  // Activations made ready for `multiply`: x [rows, columns], row r at x + r * stride. `ready` has ready_bytes(...).
  int64_t (*ready_bytes)(WeightFormat format, int64_t rows, int64_t columns);
  void (*make_ready)(WeightFormat format, const float* x, int64_t stride, int64_t rows, int64_t columns, void* ready);
  // out[r * out_stride + (n - 16 * first_panel)] = x[r] . w[n] for the rows n of panels first_panel ... last_panel - 1.
  // scratch: multiply_scratch bytes. Few rows read the panels once at memory speed; many rows multiply tiles.
  int64_t multiply_scratch;
  void (*multiply)(const Matrix& matrix, const void* ready, int64_t rows, int64_t first_panel, int64_t last_panel,
                   float* out, int64_t out_stride, void* scratch);

  // Many rows, ended while they are in the cache: whether multiply_into takes so many (they are made ready as for
  // `multiply`), and the product itself.
  bool (*takes_many)(WeightFormat format, int64_t rows);
  void (*multiply_into)(const Matrix& matrix, const void* ready, int64_t rows, int64_t first_panel, int64_t last_panel,
                        const Finish& finish, void* scratch);

  // --- element-wise (kernels/elementwise.cpp) ---

  // out = x / rms(x) * weight, per row of `columns` numbers; out may be x.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t columns, float* out);
  // out[i] = act(gate[i]) * up[i]; activation: 0 silu, 1 gelu with tanh. out may be gate.
  void (*gated)(int activation, const float* gate, const float* up, int64_t count, float* out);
  // RoPE, halves against each other: for i < half: a = x[i], b = x[half + i] -> a cos - b sin, b cos + a sin.
  void (*rotate)(float* x, const float* cos, const float* sin, int64_t half);
  // x times the Hadamard matrix of the greatest power of two that divides `count` (Sylvester's order, scaled so that it is
  // its own inverse), group of numbers by group.
  void (*hadamard)(float* x, int64_t count);
  void (*add)(const float* x, int64_t count, float* out);  // out += x
  void (*scale)(float factor, int64_t count, float* x);
  void (*softcap)(float cap, int64_t count, float* x);
  float (*greatest)(const float* x, int64_t count);  // NaN where one is

  // --- decode attention and codecs (kernels/codecs.cpp, decode.cpp, top_blocks.cpp) ---

  // Writes keys [tokens, kv_heads, k_dim] and values of consecutive positions into one block, at offset ... offset +
  // tokens - 1 (all in this block). Token t's keys at k + t * stride. i4_channel: into the tail; where the block
  // is full then, also its codes and scales from the tail. Writes only what belongs to these tokens, and is called by
  // one thread per block at a time.
  void (*append)(const KvView& view, int64_t block_id, int64_t scale_id, uint8_t* tail, int64_t offset, int64_t tokens,
                 const float* k, const float* v, int64_t stride);
  // Reads one block back: keys [32, k_dim] or values [32, v_dim] of one head in float32 (tests, compression).
  void (*read_keys)(const KvView& view, int64_t block_id, int64_t scale_id, int64_t head, float* out);
  void (*read_values)(const KvView& view, int64_t block_id, int64_t head, float* out);

  // One query position: q [rows, k_dim] scaled, of all query heads of the span, against a run of the span's keys; goes
  // on from `state`, [rows] too. scratch: decode_scratch bytes. Heads that lie side by side in a block are best read in
  // one go.
  int64_t (*decode_scratch)(int64_t k_dim, int64_t v_dim, int64_t heads, int64_t group);
  void (*attend_run)(const KvView& view, const HeadSpan& heads, const float* q, const Run& run, float softcap,
                     const Softmax& state, void* scratch);

  // Quest (Tang et al. 2024): the channel-wise minimum and maximum of a block's keys, bf16 [kv_heads][k_dim] each: the
  // block's rows of the two summary planes. Updates them for keys appended at offset ... (offset 0 starts anew).
  // minimum rounds down and maximum up, so that the bound stays one.
  void (*summarise)(uint8_t* minimum, uint8_t* maximum, int64_t kv_heads, int64_t k_dim, int64_t offset, int64_t tokens,
                    const float* k, int64_t stride);
  // scores[h * stride + i] = max over the G heads of the span's KV head h of sum over d of max(q[d] * min[d],
  // q[d] * max[d]) for summary block ids[i]; the summaries are one row per block: minimum plane and maximum plane, bf16
  // [kv_heads][k_dim] each. q [rows, k_dim]. scratch: score_scratch bytes.
  int64_t (*score_scratch)(int64_t k_dim, int64_t heads, int64_t group);
  void (*score_blocks)(const Plane& minimum, const Plane& maximum, const HeadSpan& heads, int64_t k_dim, const float* q,
                       const int32_t* ids, int64_t count, float* scores, int64_t stride, void* scratch);
  // The indices of the `top` greatest of scores[0 .. count), ascending, of two equal ones the lower; returns how many.
  int64_t (*select_top)(const float* scores, int64_t count, int64_t top, int32_t* chosen);

  // --- prefill attention (kernels/prefill.cpp) ---

  // How many tokens a tile may have at most for G heads of these sizes, and the scratch that it takes then.
  int64_t (*tile_tokens)(int64_t group, int64_t k_dim, int64_t v_dim);
  int64_t (*tile_scratch)(int64_t group, int64_t k_dim, int64_t v_dim);
  void (*attend_tile)(const Tile& tile, void* scratch);

  // --- the gauge (kernels/gauge.cpp) ---

  // Multiplies and adds in registers alone, by the level's best instruction for fp32 (kind 0), bf16 (1) or int8 (2); how
  // many operations that were, 0 where it has none. gauge_read: reads so many bytes, a multiple of 256; their sum.
  int64_t (*gauge_multiply)(int kind, int64_t rounds);
  // apart: from two places in turn, as products of few rows do (kernels/weights.h).
  uint64_t (*gauge_read)(const uint8_t* data, int64_t bytes, bool apart);
};

// By level, null where this build does not have it.
const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();  // F, BW, VL, DQ, VNNI, BF16
const Kernels* amx_kernels();     // that, FP16, and AMX tiles in bf16 and int8
const Kernels* neon_kernels();    // of 64-bit Arm: dot products of bytes, half floats

}  // namespace windowtax
