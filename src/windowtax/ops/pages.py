"""Large pages for what is read at random: with pages of 4 KiB a stream of KV blocks misses the TLB at nearly every
block."""

import ctypes
import mmap
import sys
from functools import cache

HUGE_PAGE_BYTES = 2 << 20


def prefer_huge_pages(address: int, num_bytes: int) -> None:
    """Asks the system for large pages in this range of memory, before it is first touched. Advice: failing is no
    error."""
    madvise = _madvise()
    if madvise is None or num_bytes < HUGE_PAGE_BYTES:
        return
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + num_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
    madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_HUGEPAGE)


@cache
def _madvise():
    if not sys.platform.startswith("linux") or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    return ctypes.CDLL(None, use_errno=True).madvise
