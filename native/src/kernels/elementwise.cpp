// Element-wise work between the products: norms, RoPE, activations. Plain loops that the compiler turns into vectors of
// the level's width; what needs an exponential is written in lanes.

#include "kernels/activation.h"
#include "kernels/parts.h"

WINDOWTAX_BEGIN_LEVEL

namespace {

void rms_norm(const float* x, const float* weight, float eps, int64_t columns, float* out) {
  // Sixteen partial sums: one chain of additions would be bound by its latency.
  float partial[16] = {};
  int64_t i = 0;
  for (; i + 16 <= columns; i += 16) {
    for (int lane = 0; lane < 16; ++lane) partial[lane] += x[i + lane] * x[i + lane];
  }
  float sum = 0.0f;
  for (; i < columns; ++i) sum += x[i] * x[i];
  for (float part : partial) sum += part;
  const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(columns) + eps);
  for (int64_t j = 0; j < columns; ++j) out[j] = x[j] * inverse * weight[j];
}

void gated(int activation, const float* gate, const float* up, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    store_floats(out + i, activated_lanes(activation, load_floats(gate + i)) * load_floats(up + i));
  }
  for (; i < count; ++i) out[i] = activated_lanes(activation, all_lanes(gate[i]))[0] * up[i];
}

void rotate(float* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    x[i] = a * cos[i] - b * sin[i];
    x[half + i] = b * cos[i] + a * sin[i];
  }
}

// Lane i takes that of lane i ^ kDistance.
template <int32_t kDistance>
Floats exchanged(Floats x) {
  Ints from;
  for (int32_t lane = 0; lane < kLanes; ++lane) from[lane] = lane ^ kDistance;
#if defined(__clang__)
  Floats found;
  for (int32_t lane = 0; lane < kLanes; ++lane) found[lane] = x[from[lane]];
  return found;
#else
  return __builtin_shuffle(x, from);
#endif
}

// The steps of the transform whose partners lie in one vector. The distances are template arguments so that signs and
// exchanges are constants: ten times as fast as a loop over them.
template <int32_t kDistance = 1>
Floats hadamard_lanes(Floats x) {
  if constexpr (kDistance < kLanes) {
    Floats sign;
    for (int32_t lane = 0; lane < kLanes; ++lane) sign[lane] = lane & kDistance ? -1.0f : 1.0f;
    return hadamard_lanes<2 * kDistance>(x * sign + exchanged<kDistance>(x));
  }
  return x;
}

// One step over `size` numbers whose partners lie `distance` apart.
void hadamard_step(float* x, int64_t size, int64_t distance) {
  const int64_t lanes = distance < kLanes ? 1 : kLanes;
  for (int64_t i = 0; i < size; i += 2 * distance) {
    for (int64_t j = i; j < i + distance; j += lanes) {
      if (lanes == 1) {
        const float a = x[j], b = x[j + distance];
        x[j] = a + b;
        x[j + distance] = a - b;
      } else {
        const Floats a = load_floats(x + j), b = load_floats(x + j + distance);
        store_floats(x + j, a + b);
        store_floats(x + j + distance, a - b);
      }
    }
  }
}

void hadamard(float* x, int64_t count) {
  const int64_t size = count & -count;
  const float unit = 1.0f / std::sqrt(static_cast<float>(size));
  for (const float* end = x + count; x < end; x += size) {
    const bool lanes = size >= kLanes;
    for (int64_t i = 0; lanes && i < size; i += kLanes) store_floats(x + i, hadamard_lanes(load_floats(x + i)) * unit);
    for (int64_t distance = lanes ? kLanes : 1; distance < size; distance *= 2) hadamard_step(x, size, distance);
    for (int64_t i = 0; !lanes && i < size; ++i) x[i] *= unit;
  }
}

void add(const float* x, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] += x[i];
}

void scale(float factor, int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

void softcap(float cap, int64_t count, float* x) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_floats(x + i, softcap_lanes(load_floats(x + i), cap));
  for (; i < count; ++i) x[i] = softcap_lanes(all_lanes(x[i]), cap)[0];
}

float greatest(const float* x, int64_t count) {
  Floats most = all_lanes(-INFINITY);
  Ints odd = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats now = load_floats(x + i);
    most = greater_lanes(now, most);
    odd |= now != now;
  }
  bool any_odd = false;
  for (int64_t lane = 0; lane < kLanes; ++lane) any_odd |= odd[lane] != 0;
  float found = greatest_of_lanes(most);
  for (; i < count; ++i) {
    any_odd |= x[i] != x[i];
    found = x[i] > found ? x[i] : found;
  }
  return any_odd ? NAN : found;
}

}  // namespace

void add_elementwise(Kernels& table) {
  table.rms_norm = rms_norm;
  table.gated = gated;
  table.rotate = rotate;
  table.hadamard = hadamard;
  table.add = add;
  table.scale = scale;
  table.softcap = softcap;
  table.greatest = greatest;
}

WINDOWTAX_END_LEVEL
