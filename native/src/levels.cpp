#include "levels.h"

#include <functional>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace windowtax {

namespace {

const Kernels* none() { return nullptr; }

#ifndef WINDOWTAX_HAS_portable
#define portable_kernels none
#endif
#ifndef WINDOWTAX_HAS_avx2
#define avx2_kernels none
#endif
#ifndef WINDOWTAX_HAS_avx512
#define avx512_kernels none
#endif
#ifndef WINDOWTAX_HAS_amx
#define amx_kernels none
#endif
#ifndef WINDOWTAX_HAS_neon
#define neon_kernels none
#endif

#if defined(__x86_64__)

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx512vbmi");
}

bool cpu_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool bf16 = d >> 22 & 1, fp16 = d >> 23 & 1, tile = d >> 24 & 1, int8 = d >> 25 & 1;
  return bf16 && fp16 && tile && int8;
}

std::string why_no_amx() {
  if (!has_avx512()) return "the processor lacks AVX-512 with VNNI, BF16 and VBMI";
  if (!cpu_has_amx()) return "the processor lacks AMX or AVX512-FP16";
  return enable_amx() ? "" : "the kernel does not grant AMX registers to this process";
}

#else

bool has_avx2() { return false; }
bool has_avx512() { return false; }
std::string why_no_amx() { return "not an x86-64 processor"; }

#endif

#if defined(__aarch64__) && defined(__linux__)

bool has_neon() {
  constexpr unsigned long kHalves = 1ul << 10, kDots = 1ul << 20;  // HWCAP_ASIMDHP, HWCAP_ASIMDDP
  const unsigned long has = getauxval(AT_HWCAP);
  return (has & kHalves) && (has & kDots);
}

#else

bool has_neon() {
#if defined(__aarch64__) && defined(__APPLE__)
  return true;  // every Mac of this family has dot products and half floats
#else
  return false;
#endif
}

#endif

struct Entry {
  const char* name;
  const Kernels* (*table)();
  std::string (*why_not)();
};

const Entry kEntries[] = {
    {"portable", portable_kernels, [] { return std::string(); }},
    {"avx2", avx2_kernels, [] { return std::string(has_avx2() ? "" : "the processor lacks AVX2, FMA or BMI2"); }},
    {"avx512", avx512_kernels,
     [] { return std::string(has_avx512() ? "" : "the processor lacks AVX-512 with VNNI, BF16 and VBMI"); }},
    {"amx", amx_kernels, [] { return why_no_amx(); }},
    {"neon", neon_kernels,
     [] { return std::string(has_neon() ? "" : "the processor lacks NEON with dot products and half floats"); }},
};

}  // namespace

bool enable_amx() {
#if defined(__x86_64__) && defined(__linux__)
  static const bool granted = [] {
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  }();
  return granted;
#else
  return false;
#endif
}

std::vector<Level> levels() {
  std::vector<Level> found;
  for (const Entry& entry : kEntries) {
    const bool built = entry.table != none;
    const std::string why = built ? entry.why_not() : "this build does not have it";
    found.push_back({entry.name, built, why.empty(), why});
  }
  return found;
}

const Kernels* kernels_of(const std::string& level) {
  const Kernels* best = nullptr;
  for (const Entry& entry : kEntries) {
    if (entry.table == none || !entry.why_not().empty()) continue;
    if (entry.name == level) return entry.table();
    best = entry.table();
  }
  return level.empty() ? best : nullptr;
}

}  // namespace windowtax
