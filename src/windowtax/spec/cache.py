"""The one ledger: what every layer stores, and how many bytes that is.

Planner, scheduler, storage and bill all ask the same CacheLayout; nothing outside `spec/` computes cache bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil, lcm

from windowtax.spec.planes import Growth, Plane

DEFAULT_BLOCK_SIZE = 32
"""Tokens per block. Small enough that the last, half-empty block costs little; large enough for kernels to stream."""

_SEARCH_LIMIT = 2**62


@dataclass(frozen=True)
class LayerCache:
    """What one layer keeps for a sequence, or one part of it: the planes that grow and are dropped together.

    planes: its arrays; PER_SEQUENCE planes stand alone. window: only the last so many tokens are ever read again (a
    query reads itself and window - 1 before it). chunk: the context is cut into chunks of so many tokens, and a query
    reads only its own chunk, and `memory` tokens before it. keep_first: only the first so many tokens are kept
    (attention sinks).
    skip_first: the first so many tokens are not here. stride: one row stands for so many tokens; rounds_up: a begun
    stride has its row already. reads: one decode step reads at most so many rows (a selection). page_align_bytes: a
    layer's page is padded to a multiple of it. workspace: what an engine needs while it computes, such as tokens that
    wait to be compressed: allocated, but no part of what the architecture keeps.
    """

    planes: tuple[Plane, ...]
    window: int | None = None
    chunk: int | None = None
    memory: int = 0
    keep_first: int | None = None
    skip_first: int = 0
    stride: int = 1
    rounds_up: bool = False
    reads: int | None = None
    page_align_bytes: int = 1
    workspace: bool = False

    def __post_init__(self) -> None:
        growths = {plane.grows for plane in self.planes}
        if Growth.PER_SEQUENCE in growths and len(growths) > 1:
            raise ValueError("states and rows of tokens are separate parts of a layer's cache")
        if self.stride > 1 and (self.window is not None or self.chunk is not None or self.keep_first is not None):
            raise ValueError("rows that stand for several tokens are kept for the whole context")

    @cached_property
    def token_bytes(self) -> int:
        """Bytes of one kept row: of one token, or of `stride` tokens."""
        return self._sum(Growth.PER_TOKEN) + self._sum(Growth.PER_BLOCK)

    @cached_property
    def sequence_bytes(self) -> int:
        """Bytes that a sequence holds however long it is (recurrent state)."""
        return self._sum(Growth.PER_SEQUENCE)

    @cached_property
    def is_state(self) -> bool:
        """Whether it is one state per sequence and not rows of tokens."""
        return bool(self.planes) and self.planes[0].grows is Growth.PER_SEQUENCE

    def block_bytes(self, block_size: int) -> int:
        """Bytes of one block (see `block_tokens`); of a state: of the state."""
        if self.is_state:
            return self.sequence_bytes
        size = self.token_bytes * (self.block_tokens(block_size) // self.stride)
        return -(-size // self.page_align_bytes) * self.page_align_bytes

    def block_tokens(self, block_size: int) -> int:
        """Tokens that one block covers: block_size, or the next multiple of it that holds whole rows."""
        return lcm(block_size, self.stride)

    @property
    def cap(self) -> int | None:
        """The most tokens that are read again, the query's own included; None: all."""
        if self.window is not None:
            return self.window
        return None if self.chunk is None else self.chunk + self.memory

    @cached_property
    def grows(self) -> bool:
        """Whether a longer context always keeps more tokens."""
        return self.token_bytes > 0 and self.cap is None and self.keep_first is None

    def peak_tokens(self, context_tokens: int) -> int:
        """The most rows that are worth keeping at any time up to this context length; a row is `stride` tokens."""
        if self.is_state:
            return 0
        tokens = max(0, context_tokens - self.skip_first)
        if self.rounds_up:
            tokens += self.stride - 1
        if self.chunk is not None and self.memory:
            # The most is held at the end of the last full chunk, or now.
            begun = (tokens - 1) // self.chunk * self.chunk
            ended = tokens // self.chunk * self.chunk
            return max(tokens - max(0, begun - self.memory), min(ended, self.chunk + self.memory))
        caps = [cap for cap in (self.cap, self.keep_first) if cap is not None]
        return min([tokens // self.stride, *caps])

    def read_rows(self, context_tokens: int) -> int:
        """Rows that one decode step reads at this context length."""
        rows = self.peak_tokens(context_tokens)
        return rows if self.reads is None else min(rows, self.reads)

    def first_needed(self, position: int) -> int:
        """The oldest position that the query at `position`, or a later one, still reads."""
        first = 0
        if self.window is not None:
            first = position - self.window + 1
        elif self.chunk is not None:
            first = position - position % self.chunk - self.memory
        return max(self.skip_first, first)

    def held_range(self, num_computed: int, num_new: int, block_size: int) -> tuple[int, int]:
        """First and past-the-last block index held while `num_new` tokens are computed behind `num_computed`."""
        if self.is_state:
            return 0, 1
        size = self.block_tokens(block_size)
        end = num_computed + num_new
        if self.keep_first is not None:
            end = min(end, self.keep_first)
        if self.stride > 1:
            return 0, -(-max(0, end - self.skip_first) // size)
        first = self.first_needed(num_computed) // size
        return first, max(first, -(-end // size))

    def peak_blocks(self, context_tokens: int, chunk_tokens: int, block_size: int) -> int:
        """Blocks that are enough for one sequence of this length, however its prefill chunks fall."""
        first, end = replace(self, window=None, chunk=None).held_range(0, context_tokens, block_size)
        whole = end - first
        if self.cap is None or self.is_state:
            return whole
        span = self.cap - 1 + min(chunk_tokens, context_tokens)
        return min(whole, -(-(span - 1) // block_size) + 1)

    def _sum(self, grows: Growth) -> int:
        return sum(plane.unit_bytes for plane in self.planes if plane.grows is grows)


@dataclass(frozen=True)
class LayerGroup:
    """Layers that keep the same things, and therefore share one block table. layers: their indices in the model."""

    cache: LayerCache
    layers: tuple[int, ...]

    @property
    def token_bytes(self) -> int:
        """Bytes of one kept token (or row of several) over all layers of the group."""
        return self.cache.token_bytes * len(self.layers)


Parts = LayerCache | Sequence[LayerCache]
"""What one layer keeps: one cache, or several with different lives."""


@dataclass(frozen=True)
class CacheLayout:
    """All layers' caches, grouped. block_size: tokens per block. borrowed: what layers read of other layers' caches.

    Two readings: `bytes_for` is what the architecture asks for; `pool_bytes` is what an engine allocates for it,
    in whole blocks, with the room that a prefill chunk takes inside a window, and with workspace. A state is one block.
    """

    groups: tuple[LayerGroup, ...]
    block_size: int = DEFAULT_BLOCK_SIZE
    borrowed: tuple[LayerGroup, ...] = ()

    @classmethod
    def of(
        cls, caches: Iterable[Parts], block_size: int = DEFAULT_BLOCK_SIZE, borrowed: Iterable[Parts] = ()
    ) -> "CacheLayout":
        """Groups equal layers, in the order of their first appearance. Layers that keep nothing are in no group."""
        return cls(_grouped(caches), block_size, _grouped(borrowed))

    # --- the architecture's reading ---------------------------------------------------------------------------

    @property
    def growth(self) -> Fraction:
        """Bytes that each further token costs once every window is full, exactly: rows may stand for many tokens."""
        return sum(
            (Fraction(group.token_bytes, group.cache.stride) for group in self.groups if group.cache.grows), Fraction()
        )

    @property
    def growth_bytes_per_token(self) -> int:
        """`growth` in whole bytes, rounded."""
        return round(self.growth)

    @property
    def window_bytes(self) -> int:
        """Bytes of all windows, chunks and sinks when full."""
        return sum(
            group.token_bytes * group.cache.peak_tokens(_SEARCH_LIMIT) for group in self.groups if not group.cache.grows
        )

    @property
    def state_bytes(self) -> int:
        """Bytes that every sequence holds however short it is."""
        return self._state_bytes(workspace=False)

    @property
    def checkpoint_blocks(self) -> int | None:
        """Blocks between two checkpoints of the states, so that these take no more bytes than the rows between them.

        None: no checkpoint but where one is asked for, as the model has no states, or nothing but states.
        """
        rows = self.growth * self.block_size
        return ceil(self.state_bytes / rows) if rows and self.state_bytes else None

    @property
    def workspace_bytes(self) -> int:
        """Bytes that an engine holds beside them per sequence while it computes."""
        return self._state_bytes(workspace=True)

    def bytes_for(self, context_tokens: int) -> int:
        """The most bytes that one sequence needs at any time up to this length: the curve."""
        growing = sum(group.token_bytes * group.cache.peak_tokens(context_tokens) for group in self.groups)
        return growing + self.state_bytes

    def tokens_for(self, num_bytes: int) -> int | None:
        """The longest context whose `bytes_for` fits, by search. None: unbounded (windows and states only)."""
        return _longest(self.bytes_for, num_bytes)

    def read_bytes(self, context_tokens: int) -> int:
        """Bytes that one decode step reads from one sequence's cache of this length, its states included.

        Less than is kept where layers read a selection; more where layers read the caches of others.
        """
        read = sum(
            group.token_bytes * group.cache.read_rows(context_tokens) for group in (*self.groups, *self.borrowed)
        )
        return read + self.state_bytes

    # --- the engine's reading ---------------------------------------------------------------------------------

    def block_bytes(self, group: int) -> int:
        """Bytes of one block of a group: block_size tokens in each of its layers."""
        return self.groups[group].cache.block_bytes(self.block_size) * len(self.groups[group].layers)

    def held_range(self, group: int, num_computed: int, num_new: int) -> tuple[int, int]:
        """First and past-the-last block index that a sequence holds while `num_new` tokens are computed."""
        return self.groups[group].cache.held_range(num_computed, num_new, self.block_size)

    def peak_blocks(self, context_tokens: int, chunk_tokens: int) -> tuple[int, ...]:
        """Blocks per group that are enough for one sequence of this length, however its prefill chunks fall.

        chunk_tokens: the most tokens of one sequence that one step computes.
        """
        return tuple(group.cache.peak_blocks(context_tokens, chunk_tokens, self.block_size) for group in self.groups)

    def peak_blocks_of_run(self, num_prompt_tokens: int, num_output_tokens: int, chunk_tokens: int) -> tuple[int, ...]:
        """Blocks per group held at the peak (by bytes) of one request run alone: exact, step by step.

        The last output token is sampled but never computed, so it is never stored.
        """
        steps = [
            (start, min(chunk_tokens, num_prompt_tokens - start)) for start in range(0, num_prompt_tokens, chunk_tokens)
        ]
        steps += [(num_prompt_tokens + index, 1) for index in range(num_output_tokens - 1)]
        return self.peak_blocks_of_steps(steps)

    def peak_blocks_of_steps(self, steps: Iterable[tuple[int, int]]) -> tuple[int, ...]:
        """The same for given steps: (tokens computed before, tokens computed now) each."""
        held = (tuple(end - first for first, end in self._ranges(start, new)) for start, new in steps)
        return max(held, key=self.pool_bytes)

    def pool_bytes(self, num_blocks: Sequence[int]) -> int:
        """Bytes of a pool with so many blocks in each group."""
        return sum(count * self.block_bytes(group) for group, count in enumerate(num_blocks))

    def pool_bytes_for(self, context_tokens: int, chunk_tokens: int) -> int:
        """Bytes that admitting one sequence of this length takes."""
        return self.pool_bytes(self.peak_blocks(context_tokens, chunk_tokens))

    def longest_admitted(self, num_bytes: int, chunk_tokens: int) -> int | None:
        """The longest context that can be admitted into so many bytes. None: unbounded."""
        return _longest(lambda tokens: self.pool_bytes_for(tokens, chunk_tokens), num_bytes)

    def _ranges(self, num_computed: int, num_new: int) -> Iterable[tuple[int, int]]:
        return (self.held_range(group, num_computed, num_new) for group in range(len(self.groups)))

    def _state_bytes(self, *, workspace: bool) -> int:
        return sum(
            group.cache.sequence_bytes * len(group.layers)
            for group in self.groups
            if group.cache.workspace is workspace
        )


def _grouped(caches: Iterable[Parts]) -> tuple[LayerGroup, ...]:
    members: dict[LayerCache, list[int]] = {}
    for index, parts in enumerate(caches):
        for cache in (parts,) if isinstance(parts, LayerCache) else parts:
            if cache.planes:
                members.setdefault(cache, []).append(index)
    return tuple(LayerGroup(cache, tuple(layers)) for cache, layers in members.items())


def _longest(curve: Callable[[int], int], limit: int) -> int | None:
    """The largest n with curve(n) <= limit for a curve that never falls; None where no n exceeds the limit."""
    if curve(_SEARCH_LIMIT) <= limit:
        return None
    low, high = 0, 1
    while curve(high) <= limit:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if curve(middle) <= limit else (low, middle)
    return low
