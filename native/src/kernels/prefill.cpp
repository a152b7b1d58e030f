// Prefill attention: a tile of queries, the heads of one group stacked as rows, against the paged keys that they see.

#include "kernels/parts.h"
#include "kernels/prefill_exact.h"
#if defined(__AMX_TILE__)
#include "kernels/prefill_amx.h"
#endif

WINDOWTAX_BEGIN_LEVEL
namespace {

// Rows (tokens x heads) of a tile, at most: few enough that queries, outputs and two stretches of keys stay in the
// second-level cache, and else as many as can be, because keys come from behind it once per tile. With tiles each line of
// keys takes 14 ticks of those that multiply beside (measured behind 30,720 tokens, heads of 64: 525 ticks for 32 rows
// against 32 keys in tiles of 576 rows, 470 in tiles of 1,536).
#if defined(__AMX_TILE__)
constexpr int64_t kNarrowRows = 1536, kWideRows = 864;
#else
constexpr int64_t kNarrowRows = 576, kWideRows = 576;
#endif
constexpr int64_t kNarrow = 128;  // numbers of a key and a value

int64_t tile_tokens(int64_t group, int64_t k_dim, int64_t v_dim) {
  const int64_t tokens = (k_dim + v_dim <= kNarrow ? kNarrowRows : kWideRows) / group;
  return tokens >= kBlockTokens ? tokens / kBlockTokens * kBlockTokens : greater(tokens, 1);
}

int64_t tile_scratch(int64_t group, int64_t k_dim, int64_t v_dim) {
  const int64_t rows = tile_tokens(group, k_dim, v_dim) * group;
  int64_t bytes = exact_scratch_bytes(rows, k_dim, v_dim);
#if defined(__AMX_TILE__)
  bytes = greater(bytes, amx_scratch_bytes(rows, k_dim, v_dim));
#endif
  return bytes;
}

void attend_tile(const Tile& tile, void* scratch) {
  if (tile.tokens <= 0 || tile.num_parts <= 0) return;
#if defined(__AMX_TILE__)
  bool exact = false;
  for (int64_t p = 0; p < tile.num_parts; ++p) {
    const KvView& view = *tile.parts[p].view;
    exact = exact || view.k_element == Element::f32 || view.v_element == Element::f32;
  }
  if (!exact) return attend_amx(tile, scratch);
#endif
  attend_exact(tile, scratch);
}

}  // namespace

void add_prefill(Kernels& table) {
  table.tile_tokens = tile_tokens;
  table.tile_scratch = tile_scratch;
  table.attend_tile = attend_tile;
}

WINDOWTAX_END_LEVEL
