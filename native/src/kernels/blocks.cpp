// Blocks of GGUF tensors as codes with scales.
//
// Blocks as ggml defines them (ggml-common.h): q4_0 {fp16 d; 16 bytes}, q4_1 {fp16 d, m; 16 bytes}, q5_0 {fp16 d; 4
// bytes of fifth bits; 16 bytes}, q5_1 {fp16 d, m; 4 bytes; 16 bytes}, q8_0 {fp16 d; 32 int8}, q4_k {fp16 d, dmin; 12
// bytes of 6-bit scales and minima; 128 bytes} over 256 numbers, q5_k the same with 32 bytes of fifth bits before its 128,
// q6_k {128 bytes of low nibbles; 64 of upper pairs of bits; 16 int8 scales; fp16 d}.
// Over 32 numbers the low nibbles are the first 16; over 256 the low nibbles of 32 bytes are one group of 32 and the
// high ones the next, and bit i of a byte of fifth bits belongs to group i.

#include "kernels/parts.h"
#include "kernels/weights_layout.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

constexpr int kQ6Scales = 192, kQ6D = 208;  // where they begin in a block of q6_k

float half_at(const uint8_t* at) { return from_fp16(static_cast<uint16_t>(at[0] | at[1] << 8)); }

void split(const uint8_t* bytes, int count, int8_t* low, int8_t* high) {
  for (int i = 0; i < count; ++i) low[i] = static_cast<int8_t>(bytes[i] & 15);
  for (int i = 0; i < count; ++i) high[i] = static_cast<int8_t>(bytes[i] >> 4);
}

void read_q4_0(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 18, codes += kGroup) {
    scale[i] = half_at(block);
    least[i] = -8 * scale[i];
    split(block + 2, 16, codes, codes + 16);
  }
}

void read_q4_1(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 20, codes += kGroup) {
    scale[i] = half_at(block);
    least[i] = half_at(block + 2);
    split(block + 4, 16, codes, codes + 16);
  }
}

// Eight bits as eight bytes, 16 where the bit is set: byte i keeps bit i of its copy of all eight, and 0x7f carries what
// is there into its highest bit.
uint64_t sixteens(uint8_t bits) {
  const uint64_t copies = bits * 0x0101010101010101u & 0x8040201008040201u;
  return (copies + 0x7f7f7f7f7f7f7f7fu) >> 3 & 0x1010101010101010u;
}

// 32 numbers: nibbles, and bit k of four bytes above that of number k.
void read_fifths(const uint8_t* fifths, const uint8_t* nibbles, int8_t offset, int8_t* codes) {
  uint64_t above[4];
  for (int i = 0; i < 4; ++i) above[i] = sixteens(fifths[i]);
  int8_t fifth[kGroup];
  memcpy(fifth, above, sizeof fifth);
  split(nibbles, 16, codes, codes + 16);
  for (int k = 0; k < kGroup; ++k) codes[k] = static_cast<int8_t>((codes[k] | fifth[k]) - offset);
}

void read_q5_0(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float*) {
  for (int64_t i = 0; i < count; ++i, block += 22, codes += kGroup) {
    scale[i] = half_at(block);
    read_fifths(block + 2, block + 6, 16, codes);
  }
}

void read_q5_1(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 24, codes += kGroup) {
    scale[i] = half_at(block);
    least[i] = half_at(block + 2);
    read_fifths(block + 4, block + 8, 0, codes);
  }
}

void read_q8_0(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float*) {
  for (int64_t i = 0; i < count; ++i, block += 34, codes += kGroup) {
    scale[i] = half_at(block);
    memcpy(codes, block + 2, kGroup);
  }
}

// The head of a block over 256 numbers. The first four scales and minima are 6 bits as they lie; the last four have their
// upper 2 bits above the first's.
void read_scales(const uint8_t* block, float* scale, float* least) {
  const float d = half_at(block), d_least = half_at(block + 2);
  const uint8_t *low = block + 4, *middle = block + 8, *high = block + 12;
  for (int k = 0; k < 4; ++k) {
    scale[k] = d * static_cast<float>(low[k] & 63);
    least[k] = -d_least * static_cast<float>(middle[k] & 63);
    scale[k + 4] = d * static_cast<float>((high[k] & 15) | low[k] >> 6 << 4);
    least[k + 4] = -d_least * static_cast<float>(high[k] >> 4 | middle[k] >> 6 << 4);
  }
}

void read_pairs(const uint8_t* bytes, int8_t* codes) {
  for (int pair = 0; pair < 4; ++pair, bytes += kGroup, codes += 2 * kGroup) split(bytes, kGroup, codes, codes + kGroup);
}

void read_q4_k(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 144, codes += 8 * kGroup, scale += 8, least += 8) {
    read_scales(block, scale, least);
    read_pairs(block + 16, codes);
  }
}

void read_q5_k(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 176, codes += 8 * kGroup, scale += 8, least += 8) {
    const uint8_t* fifths = block + 16;
    read_scales(block, scale, least);
    read_pairs(block + 48, codes);
    for (int group = 0; group < 8; ++group)
      for (int k = 0; k < kGroup; ++k)
        codes[group * kGroup + k] = static_cast<int8_t>(codes[group * kGroup + k] | (fifths[k] >> group & 1) << 4);
  }
}

// 128 numbers of q6_k: four groups of 32 whose upper bits share 32 bytes, from the lowest pair on; two share their nibbles.
void read_sixths(const uint8_t* nibbles, const uint8_t* upper, int8_t* codes) {
  for (int half = 0; half < 2; ++half) {
    split(nibbles + half * kGroup, kGroup, codes + half * kGroup, codes + (half + 2) * kGroup);
  }
  for (int group = 0; group < 4; ++group)
    for (int k = 0; k < kGroup; ++k) {
      const int above = (upper[k] >> 2 * group & 3) << 4;
      codes[group * kGroup + k] = static_cast<int8_t>((codes[group * kGroup + k] | above) - 32);
    }
}

// 32 numbers as 8-bit codes; the scale as fp16 keeps it, so that the codes make up for its rounding.
float requantise(const float* values, int8_t* codes) {
  uint32_t greatest = 0;  // magnitudes are ordered as their bits are
  for (int k = 0; k < kGroup; ++k) {
    const uint32_t magnitude = bits_of(values[k]) & 0x7fffffffu;
    greatest = magnitude > greatest ? magnitude : greatest;
  }
  const float scale = round_to_fp16(float_of(greatest) / 127), inverse = scale > 0 ? 1 / scale : 0;
  for (int k = 0; k < kGroup; ++k) {
    float code = round_even(values[k] * inverse);
    code = code > 127 ? 127 : code;
    code = code < -127 ? -127 : code;
    codes[k] = static_cast<int8_t>(static_cast<int32_t>(code));
  }
  return scale;
}

void read_q6_k(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float*) {
  for (int64_t i = 0; i < count; ++i, block += 210, codes += 8 * kGroup, scale += 8) {
    const float d = half_at(block + kQ6D);
    int8_t sixths[8 * kGroup], factors[16];
    for (int half = 0; half < 2; ++half) read_sixths(block + 64 * half, block + 128 + 32 * half, sixths + 128 * half);
    memcpy(factors, block + kQ6Scales, sizeof factors);
    float values[8 * kGroup];
    for (int part = 0; part < 16; ++part) {
      const float factor = d * static_cast<float>(factors[part]);
      for (int k = 16 * part; k < 16 * part + 16; ++k) values[k] = factor * static_cast<float>(sixths[k]);
    }
    for (int group = 0; group < 8; ++group) scale[group] = requantise(values + group * kGroup, codes + group * kGroup);
  }
}

void read_blocks(BlockType type, const uint8_t* blocks, int64_t count, int8_t* codes, float* scale, float* least) {
  constexpr void (*kReaders[])(const uint8_t*, int64_t, int8_t*, float*, float*) = {
      read_q4_0, read_q4_1, read_q5_0, read_q5_1, read_q8_0, read_q4_k, read_q5_k, read_q6_k};
  kReaders[static_cast<int>(type)](blocks, count, codes, scale, least);
}

}  // namespace

void add_blocks(Kernels& table) { table.read_blocks = read_blocks; }

WINDOWTAX_END_LEVEL
