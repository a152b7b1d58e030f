"""Hit rate against cache size: all requests of a trace against caches of many sizes, without a clock.

Requests are served one after another here, each whole: what runs at the same time and holds blocks meanwhile is the
business of plan/simulate.py. A request finds the whole blocks at the start of its prompt that are kept, but never its
last token, which must be computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from windowtax.base.errors import BadInput
from windowtax.base.units import GIB, format_bytes
from windowtax.cache.prefix import PrefixIndex, keep_computed
from windowtax.cache.stack import LruSizes
from windowtax.plan.replay.trace import Trace

_MOST_SIZES = 32
_DEFAULT_SIZES = 9


@dataclass(frozen=True, slots=True)
class HitPoint:
    """A cache of so many bytes (of a whole replica), the blocks that it keeps, and the prompt tokens found in it."""

    num_bytes: int
    num_blocks: int
    found_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HitCurve:
    """Rising sizes. endless_tokens: what a cache that forgets nothing finds. block_bytes: of one kept block."""

    policy: str
    points: tuple[HitPoint, ...]
    endless_tokens: int
    prompt_tokens: int
    block_bytes: int
    footprint_bytes: int

    def rate(self, found_tokens: int) -> float:
        """Share of all prompt tokens."""
        return found_tokens / self.prompt_tokens

    def at(self, sizes_bytes: Sequence[int]) -> "HitCurve":
        """Only these of its sizes."""
        found = {point.num_blocks: point.found_tokens for point in self.points}
        blocks = {size: size // self.block_bytes for size in sorted(sizes_bytes)}
        return replace(self, points=tuple(HitPoint(size, count, found[count]) for size, count in blocks.items()))

    def without_tail(self) -> "HitCurve":
        """Without the sizes behind the first that finds (nearly) all that can be found."""
        enough = next((i for i, one in enumerate(self.points) if one.found_tokens >= 0.999 * self.endless_tokens), None)
        return self if enough is None else replace(self, points=self.points[: enough + 1])


def hit_curve(trace: Trace, block_bytes: int, sizes_bytes: Sequence[int], policy: str = "lru") -> HitCurve:
    """Replays the whole trace. LRU takes one pass for all sizes; other policies take one pass for each.

    block_bytes: of one block of the trace's size on a whole replica. Raises BadInput for sizes that hold no block,
    UnknownName for a policy.
    """
    if not sizes_bytes or len(sizes_bytes) > _MOST_SIZES:
        raise BadInput(f"{len(sizes_bytes)} cache sizes: give 1 to {_MOST_SIZES}.")
    smallest = min(sizes_bytes)
    if smallest < block_bytes:
        raise BadInput(
            f"A cache of {format_bytes(smallest)} holds no block: one block of {trace.block_tokens:,} tokens takes "
            f"{format_bytes(block_bytes)} on this model.",
        )
    # Sizes that differ by less than a block are one size.
    by_blocks = {size // block_bytes: size for size in sorted(sizes_bytes, reverse=True)}
    blocks = sorted(by_blocks)
    found, endless = _found_by_lru(trace, blocks)
    if policy != "lru":
        found = [_found_by(trace, count, policy) for count in blocks]
    points = tuple(
        HitPoint(by_blocks[count], count, hits * trace.block_tokens) for count, hits in zip(blocks, found, strict=True)
    )
    return HitCurve(
        policy=policy,
        points=points,
        endless_tokens=endless * trace.block_tokens,
        prompt_tokens=trace.num_prompt_tokens,
        block_bytes=block_bytes,
        footprint_bytes=trace.num_keys * block_bytes,
    )


def default_sizes(trace: Trace, block_bytes: int) -> list[int]:
    """Sizes in whole GiB, each four times the last, from one that holds a prompt to one that holds everything."""
    smallest = max(GIB, trace.longest.num_prompt_tokens // trace.block_tokens * block_bytes, block_bytes)
    sizes = [-(-smallest // GIB) * GIB]
    while len(sizes) < _DEFAULT_SIZES and sizes[-1] < trace.num_keys * block_bytes:
        sizes.append(sizes[-1] * 4)
    return sizes


def _found_by_lru(trace: Trace, sizes: Sequence[int]) -> tuple[list[int], int]:
    """Blocks found by each size, and by one without end."""
    caches = LruSizes(sizes)
    counts = [0] * (len(sizes) + 1)
    block_tokens = trace.block_tokens
    for request in trace.requests:
        keys = request.keys
        zones = caches.look_up(keys)
        for zone in zones[: (request.num_prompt_tokens - 1) // block_tokens]:
            counts[zone] += 1
        caches.use(keys)
    total, found = 0, list[int]()
    for count in counts:
        total += count
        found.append(total)
    return found[:-1], found[-1]


def _found_by(trace: Trace, size: int, policy: str) -> int:
    index, found = PrefixIndex(size, policy), 0
    for request in trace.requests:
        usable = (request.num_prompt_tokens - 1) // trace.block_tokens
        found += min(usable, keep_computed(index, request.keys))
    return found
