// Which instruction-set levels this build has, which of them this processor can run, and the one that is used.

#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace windowtax {

struct Level {
  std::string name;
  bool built;
  bool runs;
  std::string why_not;  // empty where it is built and runs
};

// All levels there are, slowest first.
std::vector<Level> levels();

// The kernels of that level; "" for the best that runs. Null where it is not built or does not run.
const Kernels* kernels_of(const std::string& level);

// AMX registers must be asked for once per process (Linux, arch_prctl). True where they were granted.
bool enable_amx();

}  // namespace windowtax
