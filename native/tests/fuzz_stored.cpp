// Matrices read from a file of GGUF blocks at every level that runs here, against the portable level's reading of single
// rows, which tests/engine/test_gguf_codes.py holds against the gguf package: random types, places, threads, rows of zeros.
// fuzz_stored [seed] [rounds]; exit code 1 and a message on a mismatch.

#include "stored.h"

#include <unistd.h>

#include <cmath>

#include "fuzz_levels.h"
#include "gguf.h"

using namespace windowtax;

namespace {

struct Files {
  char path[32] = "/tmp/fuzz_stored_XXXXXX";
  Files() { close(mkstemp(path)); }
  ~Files() { unlink(path); }
};

// Random bytes with sane scales: the fp16 fields of each block between 2^-12 and 2^-6.
std::vector<uint8_t> blocks(Rng& rng, BlockType type, int64_t count) {
  const GgufType& known = gguf_type(type);
  std::vector<uint8_t> bytes(count * known.bytes);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(pick(rng, 0, 255));
  for (int64_t block = 0; block < count; ++block) {
    uint8_t* at = bytes.data() + block * known.bytes;
    const bool two = has_least(known.format) && type != BlockType::q4_0;
    for (int field = 0; field < (two ? 2 : 1); ++field)
      at[(type == BlockType::q6_k ? 208 : 2 * field) + 1] = static_cast<uint8_t>(pick(rng, 0x0c, 0x23));
  }
  return bytes;
}

std::vector<float> numbers_of(BlockType type, const std::vector<uint8_t>& row, int64_t columns) {
  std::vector<int8_t> codes(columns);
  std::vector<float> scale(columns / kGroup), least(columns / kGroup), out(columns);
  const GgufType& known = gguf_type(type);
  kernels_of("portable")->read_blocks(type, row.data(), columns / known.numbers, codes.data(), scale.data(), least.data());
  for (int64_t i = 0; i < columns; ++i)
    out[i] = scale[i / kGroup] * codes[i] + (has_least(known.format) ? least[i / kGroup] : 0.0f);
  return out;
}

void check(const Kernels& kernels, Rng& rng) {
  static const Files file;
  const int64_t rows = pick(rng, 1, 90), columns = pick(rng, 1, 4) * 256;
  const auto format = one_of(rng, {WeightFormat::q8, WeightFormat::q4, WeightFormat::q5, WeightFormat::q5_least,
                                   WeightFormat::bf16, WeightFormat::f32});
  std::vector<int64_t> places(rows, -1);
  std::vector<BlockType> types(rows);
  std::vector<std::vector<float>> want(rows, std::vector<float>(columns));
  std::vector<uint8_t> bytes(1);
  const int64_t spread = one_of(rng, {0, 100, 200000});
  for (int64_t row = 0; row < rows; ++row) {
    do types[row] = static_cast<BlockType>(pick(rng, 0, kNumGgufTypes - 1));
    while (format >= WeightFormat::q8 && gguf_type(types[row]).format != format);
    if (pick(rng, 0, 9) == 0) continue;
    bytes.resize(bytes.size() + pick(rng, 0, spread));
    places[row] = static_cast<int64_t>(bytes.size());
    const std::vector<uint8_t> made = blocks(rng, types[row], columns / gguf_type(types[row]).numbers);
    want[row] = numbers_of(types[row], made, columns);
    bytes.insert(bytes.end(), made.begin(), made.end());
  }
  FILE* out = std::fopen(file.path, "wb");
  if (out == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), out) != bytes.size()) fail("the file cannot be written");
  std::fclose(out);
  Matrix matrix{format, rows, columns, nullptr};
  std::vector<uint8_t> packed(matrix.panels() * matrix.units() * unit_bytes(format));
  matrix.data = packed.data();
  StoredReader reader(file.path, {{matrix, places.data(), types.data()}}, static_cast<int>(pick(rng, 1, 3)), kernels);
  reader.finish();
  std::vector<float> got(columns);
  for (int64_t row = 0; row < rows; ++row) {
    kernels.unpack_row(matrix, row, got.data());
    float greatest = 0;
    for (const float x : want[row]) greatest = std::max(greatest, std::fabs(x));
    for (int64_t i = 0; i < columns; ++i)  // what bf16, or scales in fp16, may round
      if (std::fabs(got[i] - want[row][i]) > greatest * (format == WeightFormat::bf16 ? 0x1p-8f : 0x1p-10f) + 1e-6f)
        fail(std::string(kernels.level) + ": " + gguf_type(types[row]).name + " row " + std::to_string(row) + " column " +
             std::to_string(i) + ": " + std::to_string(got[i]) + ", want " + std::to_string(want[row][i]));
  }
}

}  // namespace

int main(int argc, char** argv) { return fuzz_levels(argc, argv, 40, check); }
