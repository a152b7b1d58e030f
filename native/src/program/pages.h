// Memory for what a step works on: aligned to cache lines, and what is large on large pages. Rows of thousands of bytes
// lie a page apart else, and each store misses the TLB.

#pragma once

#include <cstdint>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace windowtax {

// At least so many bytes, for std::free; what may be on large pages is whole ones, so that none is taken for nothing.
inline void* allocate_pages(int64_t bytes) {
  constexpr int64_t kLarge = 2 << 20;
  const int64_t large = bytes / kLarge * kLarge;
  void* found = std::aligned_alloc(large ? kLarge : 64, static_cast<size_t>((bytes + 4095) / 4096 * 4096));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (found && large) madvise(found, static_cast<size_t>(large), MADV_HUGEPAGE);
#endif
  return found;
}

}  // namespace windowtax
