"""Memory of this machine: what is free, and what the process holds."""

import resource
import sys

import psutil

from windowtax.base.errors import DoesNotFit
from windowtax.base.units import format_bytes, format_exact_bytes, format_tokens
from windowtax.spec.cache import CacheLayout

RESERVE_BYTES = 512 * 2**20
"""Left free for the rest of the machine when a pool is admitted."""


def free_bytes(device: str) -> int:
    """Bytes that can be allocated on the device now."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def resident_bytes() -> int:
    """Bytes of main memory that this process holds."""
    return psutil.Process().memory_info().rss


def peak_resident_bytes() -> int:
    """The most bytes of main memory that this process has held since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def admit_pool(layout: CacheLayout, context_tokens: int, step_tokens: int, free: int) -> tuple[int, ...]:
    """Blocks per group for one window of this length. Raises DoesNotFit, with the sum, before anything is allocated.

    free: bytes that the pool may take.
    """
    blocks = layout.peak_blocks(context_tokens, step_tokens)
    need = layout.pool_bytes(blocks)
    if need <= free:
        return blocks
    fits = layout.longest_admitted(free, step_tokens) or 0
    raise DoesNotFit(
        f"{format_tokens(context_tokens)} tokens need {format_exact_bytes(need)} of KV cache; {format_bytes(free)} are "
        f"free for it; the most that fits is {fits:,} tokens.",
        "Shorten the text, keep the cache in fewer bits, or take a model that stores less (windowtax compare).",
    )


def shared_pool(
    layout: CacheLayout, context_tokens: int, step_tokens: int, max_sequences: int, pool_bytes: int
) -> tuple[int, ...]:
    """Blocks per group of a pool that many sequences share, in at most so many bytes.

    What a sequence holds however long it is (windows, states) is there for each of max_sequences, or for as many as
    half of the pool holds; the rest goes to what grows, evenly by tokens. Where there are states, half of that goes to
    their checkpoints: `CacheLayout.checkpoint_blocks` lets them have as many bytes. Raises DoesNotFit where not even
    one window of context_tokens has room.
    """
    one = admit_pool(layout, context_tokens, step_tokens, pool_bytes)
    growing = [group.cache.grows and not group.cache.is_state for group in layout.groups]
    # A block more of each window: what a later sequence that goes on from the last whole block still reads.
    states = [group.cache.is_state for group in layout.groups]
    fixed = [0 if grows else count + (not state) for grows, state, count in zip(growing, states, one, strict=True)]
    fixed_bytes = layout.pool_bytes(fixed)
    sequences = max_sequences if not fixed_bytes else max(1, min(max_sequences, pool_bytes // 2 // fixed_bytes))
    left = pool_bytes - sequences * fixed_bytes
    row_bytes = sum(layout.block_bytes(group) for group, grows in enumerate(growing) if grows)
    rows = left // row_bytes if row_bytes else 0
    checkpoints = 0
    if layout.state_bytes:
        window = max((count for grows, count in zip(growing, one, strict=True) if grows), default=0)
        rows = max(min(rows, window), rows // 2)
        checkpoints = (left - rows * row_bytes) // layout.state_bytes
    blocks = [
        rows if grows else sequences * count + checkpoints * (group.cache.is_state and not group.cache.workspace)
        for grows, count, group in zip(growing, fixed, layout.groups, strict=True)
    ]
    return tuple(max(have, count) for have, count in zip(blocks, one, strict=True))
