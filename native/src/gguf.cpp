#include "gguf.h"

#include <cstring>

namespace windowtax {

namespace {

constexpr int64_t kNumbers = 32;

// An fp16 number, IEEE 754 binary16: its exponent is widened by a product, which also makes subnormals normal.
float half_at(const uint8_t* at) {
  const uint32_t half = static_cast<uint32_t>(at[0] | at[1] << 8);
  const uint32_t infinite = (half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
  const uint32_t magnitude = (half & 0x7fff) << 13;
  float found;
  memcpy(&found, &magnitude, 4);
  found *= 0x1p112f;
  uint32_t bits;
  memcpy(&bits, &found, 4);
  bits |= infinite | (half & 0x8000) << 16;
  memcpy(&found, &bits, 4);
  return found;
}

void split(const uint8_t* bytes, int64_t count, int8_t* low, int8_t* high) {
  for (int64_t i = 0; i < count; ++i) low[i] = static_cast<int8_t>(bytes[i] & 15);
  for (int64_t i = 0; i < count; ++i) high[i] = static_cast<int8_t>(bytes[i] >> 4);
}

void read_q4_0(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 18, codes += kNumbers) {
    scale[i] = half_at(block);
    least[i] = -8 * scale[i];
    split(block + 2, 16, codes, codes + 16);
  }
}

void read_q4_1(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 20, codes += kNumbers) {
    scale[i] = half_at(block);
    least[i] = half_at(block + 2);
    split(block + 4, 16, codes, codes + 16);
  }
}

// 32 numbers: nibbles, and bit k of four bytes above that of number k.
void read_fifths(const uint8_t* fifths, const uint8_t* nibbles, int8_t offset, int8_t* codes) {
  uint32_t bits;
  memcpy(&bits, fifths, sizeof bits);
  split(nibbles, 16, codes, codes + 16);
  for (int k = 0; k < kNumbers; ++k) codes[k] = static_cast<int8_t>((codes[k] | (bits >> k & 1) << 4) - offset);
}

void read_q5_0(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float*) {
  for (int64_t i = 0; i < count; ++i, block += 22, codes += kNumbers) {
    scale[i] = half_at(block);
    read_fifths(block + 2, block + 6, 16, codes);
  }
}

void read_q5_1(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 24, codes += kNumbers) {
    scale[i] = half_at(block);
    least[i] = half_at(block + 2);
    read_fifths(block + 4, block + 8, 0, codes);
  }
}

void read_q8_0(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float*) {
  for (int64_t i = 0; i < count; ++i, block += 34, codes += kNumbers) {
    scale[i] = half_at(block);
    memcpy(codes, block + 2, kNumbers);
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
  for (int pair = 0; pair < 4; ++pair, bytes += kNumbers, codes += 2 * kNumbers)
    split(bytes, kNumbers, codes, codes + kNumbers);
}

void read_q4_k(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 144, codes += 8 * kNumbers, scale += 8, least += 8) {
    read_scales(block, scale, least);
    read_pairs(block + 16, codes);
  }
}

void read_q5_k(const uint8_t* block, int64_t count, int8_t* codes, float* scale, float* least) {
  for (int64_t i = 0; i < count; ++i, block += 176, codes += 8 * kNumbers, scale += 8, least += 8) {
    const uint8_t* fifths = block + 16;
    read_scales(block, scale, least);
    read_pairs(block + 48, codes);
    for (int group = 0; group < 8; ++group)
      for (int k = 0; k < kNumbers; ++k)
        codes[group * kNumbers + k] = static_cast<int8_t>(codes[group * kNumbers + k] | (fifths[k] >> group & 1) << 4);
  }
}

constexpr GgufType kTypes[] = {
    {"Q4_0", 32, 18, true, read_q4_0},  {"Q4_1", 32, 20, true, read_q4_1},    {"Q5_0", 32, 22, false, read_q5_0},
    {"Q5_1", 32, 24, true, read_q5_1},  {"Q8_0", 32, 34, false, read_q8_0},   {"Q4_K", 256, 144, true, read_q4_k},
    {"Q5_K", 256, 176, true, read_q5_k},
};

}  // namespace

const GgufType* gguf_type(const char* name) {
  for (const GgufType& type : kTypes)
    if (strcmp(type.name, name) == 0) return &type;
  return nullptr;
}

}  // namespace windowtax
