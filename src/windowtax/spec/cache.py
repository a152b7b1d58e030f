"""The one ledger: what every layer stores, and how many bytes that is.

Planner, scheduler, storage and bill all ask the same CacheLayout; nothing outside `spec/` computes cache bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from windowtax.spec.planes import Growth, Plane

DEFAULT_BLOCK_SIZE = 32
"""Tokens per block. Small enough that the last, half-empty block costs little; large enough for kernels to stream."""

_SEARCH_LIMIT = 2**62


@dataclass(frozen=True)
class LayerCache:
    """What one layer keeps for a sequence.

    planes: its arrays. window: only the last so many tokens are ever read again (a query reads itself and window - 1
    before it). chunk: the context is cut into chunks of so many tokens, and a query reads only its own chunk.
    """

    planes: tuple[Plane, ...]
    window: int | None = None
    chunk: int | None = None

    @cached_property
    def token_bytes(self) -> int:
        """Bytes of one kept token."""
        return self._sum(Growth.PER_TOKEN)

    @cached_property
    def sequence_bytes(self) -> int:
        """Bytes that a sequence holds however long it is (recurrent state)."""
        return self._sum(Growth.PER_SEQUENCE)

    def block_bytes(self, block_size: int) -> int:
        """Bytes of one block of `block_size` tokens."""
        return self.token_bytes * block_size + self._sum(Growth.PER_BLOCK)

    @property
    def grows(self) -> bool:
        """Whether a longer context always keeps more tokens."""
        return self.token_bytes > 0 and self.window is None and self.chunk is None

    def peak_tokens(self, context_tokens: int) -> int:
        """The most tokens that are worth keeping at any time up to this context length."""
        caps = [cap for cap in (self.window, self.chunk) if cap is not None]
        return min([context_tokens, *caps])

    def first_needed(self, position: int) -> int:
        """The oldest position that the query at `position`, or a later one, still reads."""
        if self.window is not None:
            return max(0, position - self.window + 1)
        if self.chunk is not None:
            return position - position % self.chunk
        return 0

    def _sum(self, grows: Growth) -> int:
        return sum(plane.unit_bytes for plane in self.planes if plane.grows is grows)


@dataclass(frozen=True)
class LayerGroup:
    """Layers that keep the same things, and therefore share one block table. layers: their indices in the model."""

    cache: LayerCache
    layers: tuple[int, ...]

    @property
    def token_bytes(self) -> int:
        """Bytes of one kept token over all layers of the group."""
        return self.cache.token_bytes * len(self.layers)


@dataclass(frozen=True)
class CacheLayout:
    """All layers' caches, grouped. block_size: tokens per block.

    Two readings: `bytes_for` is what the architecture asks for; `pool_bytes` is what an engine allocates for it,
    in whole blocks, with the room that a prefill chunk takes inside a window.
    """

    groups: tuple[LayerGroup, ...]
    block_size: int = DEFAULT_BLOCK_SIZE

    @classmethod
    def of(cls, caches: Iterable[LayerCache], block_size: int = DEFAULT_BLOCK_SIZE) -> "CacheLayout":
        """Groups equal layers, in the order of their first appearance. Layers that keep nothing are in no group."""
        members: dict[LayerCache, list[int]] = {}
        for index, cache in enumerate(caches):
            if cache.planes:
                members.setdefault(cache, []).append(index)
        return cls(tuple(LayerGroup(cache, tuple(layers)) for cache, layers in members.items()), block_size)

    # --- the architecture's reading ---------------------------------------------------------------------------

    @property
    def growth_bytes_per_token(self) -> int:
        """Bytes that each further token costs once every window is full."""
        return sum(group.token_bytes for group in self.groups if group.cache.grows)

    @property
    def window_bytes(self) -> int:
        """Bytes of all windows and chunks when full."""
        return sum(
            group.token_bytes * group.cache.peak_tokens(_SEARCH_LIMIT) for group in self.groups if not group.cache.grows
        )

    @property
    def state_bytes(self) -> int:
        """Bytes that every sequence holds however short it is."""
        return sum(group.cache.sequence_bytes * len(group.layers) for group in self.groups)

    def bytes_for(self, context_tokens: int) -> int:
        """The most bytes that one sequence needs at any time up to this length: the curve."""
        growing = sum(group.token_bytes * group.cache.peak_tokens(context_tokens) for group in self.groups)
        return growing + self.state_bytes

    def tokens_for(self, num_bytes: int) -> int | None:
        """The longest context whose `bytes_for` fits, by search. None: unbounded (windows and states only)."""
        return _longest(self.bytes_for, num_bytes)

    def read_bytes(self, context_tokens: int) -> int:
        """Bytes that one decode step reads from one sequence's cache of this length, its states included."""
        return self.bytes_for(context_tokens)

    # --- the engine's reading ---------------------------------------------------------------------------------

    def block_bytes(self, group: int) -> int:
        """Bytes of one block of a group: block_size tokens in each of its layers."""
        return self.groups[group].cache.block_bytes(self.block_size) * len(self.groups[group].layers)

    def held_range(self, group: int, num_computed: int, num_new: int) -> tuple[int, int]:
        """First and past-the-last block index that a sequence holds while `num_new` tokens are computed."""
        first = self.groups[group].cache.first_needed(num_computed) // self.block_size
        return first, -(-(num_computed + num_new) // self.block_size)

    def peak_blocks(self, context_tokens: int, chunk_tokens: int) -> tuple[int, ...]:
        """Blocks per group that are enough for one sequence of this length, however its prefill chunks fall.

        chunk_tokens: the most tokens of one sequence that one step computes.
        """
        whole = -(-context_tokens // self.block_size)
        counts: list[int] = []
        for group in self.groups:
            cap = group.cache.window or group.cache.chunk
            if cap is None:
                counts.append(whole)
                continue
            span = cap - 1 + min(chunk_tokens, context_tokens)
            counts.append(min(whole, -(-(span - 1) // self.block_size) + 1))
        return tuple(counts)

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
