"""Touches as many bytes of memory as the argument says, and ends: see `start.touch_memory`. Plain Python."""

import mmap
import sys

PAGE_BYTES = 4096


def main() -> None:
    """One byte of each page, in large pages where there are any."""
    size = int(sys.argv[1]) // PAGE_BYTES * PAGE_BYTES
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        memory[::PAGE_BYTES] = b"\1" * (size // PAGE_BYTES)


if __name__ == "__main__":
    main()
