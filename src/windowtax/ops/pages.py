"""Large pages for what is read at random: with pages of 4 KiB a stream of KV blocks misses the TLB at nearly every
block."""

import ctypes
import math
import mmap
import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE_BYTES = 2 << 20
CACHE_LINE_BYTES = 64


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


def aligned_zeros(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Bytes that begin at a cache line, in large pages where they are many. Untouched pages take no memory yet."""
    raw = np.zeros(math.prod(shape) + CACHE_LINE_BYTES, dtype=np.uint8)
    return _aligned(raw, math.prod(shape)).reshape(shape)


def aligned_bytes(num_bytes: int) -> NDArray[np.uint8]:
    """The same, not cleared: to be written whole."""
    return _aligned(np.empty(num_bytes + CACHE_LINE_BYTES, dtype=np.uint8), num_bytes)


def _aligned(raw: NDArray[np.uint8], num_bytes: int) -> NDArray[np.uint8]:
    prefer_huge_pages(raw.ctypes.data, raw.nbytes)
    start = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[start : start + num_bytes]
