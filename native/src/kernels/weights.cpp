// Which way a product is made at this level, and the weights' entries of the table.

#include "kernels/weights.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

void multiply(const Matrix& matrix, const void* ready, int64_t rows, int64_t first_panel, int64_t last_panel,
              float* out, int64_t out_stride, void* scratch) {
  if (rows <= 0 || first_panel >= last_panel) return;
  const Product product = {matrix, ready, rows, first_panel, last_panel, out, out_stride, scratch};
  switch (way_of(matrix.format, rows)) {
    case Way::floats:
      return multiply_floats(product);
    case Way::wide_bf16:
      return multiply_wide_bf16(product);
    case Way::bytes:
      return multiply_bytes(product);
    case Way::byte_tiles:
      return multiply_byte_tiles(product);
    case Way::bf16_tiles:
      if (rows <= kTileRows) return multiply_bf16_tiles(product);
      return multiply_into(matrix, ready, rows, first_panel, last_panel,
                           {Ending::store, nullptr, out - first_panel * kPanelRows, out_stride, matrix.rows, nullptr},
                           scratch);
  }
}

bool takes_many(WeightFormat format, int64_t rows) {
  return rows > kTileRows && way_of(format, rows) == Way::bf16_tiles;
}

}  // namespace

// The limits are measured. Where there are no tiles, bytes (VNNI, AVX2's, SDOT) serve any number of rows. AMX int8 scales
// the sums of each group, once per row, so that widening to bf16 is cheaper from a second tile of rows on.
Way way_of(WeightFormat format, [[maybe_unused]] int64_t rows) {
  if (format == WeightFormat::f32) return Way::floats;
#if defined(__AMX_TILE__)
  if (format == WeightFormat::bf16) return rows <= 1 ? Way::wide_bf16 : Way::bf16_tiles;
  if (rows <= 4) return Way::bytes;
  return rows <= kTileRows ? Way::byte_tiles : Way::bf16_tiles;
#elif defined(__AVX512VNNI__)
  if (format == WeightFormat::bf16) return rows <= 8 ? Way::wide_bf16 : Way::floats;
  return Way::bytes;
#elif defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
  return format == WeightFormat::bf16 ? Way::floats : Way::bytes;
#else
  return Way::floats;
#endif
}

void add_weights(Kernels& table) {
  table.pack = pack;
  table.pack_codes = pack_codes;
  table.unpack_row = unpack_row;
  table.ready_bytes = ready_bytes;
  table.make_ready = make_ready;
  table.multiply_scratch = kScratchBytes;
  table.multiply = multiply;
  table.takes_many = takes_many;
  table.multiply_into = multiply_into;
}

WINDOWTAX_END_LEVEL
