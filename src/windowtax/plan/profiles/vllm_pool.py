"""vLLM's pool: equal blocks that every kind of layer shares (v1/core/kv_cache_utils.py, v1/kv_cache_interface.py).

Layers of one cache each have their own tensor of `num_blocks` pages. Layers of different kinds are cut into groups of
equally many layers, and one layer of each group shares a tensor, so all pages must be of one size: smaller pages take
more tokens, and a recurrent state is padded to a page of attention (the attention block grows until the state fits).
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from windowtax.base.errors import UnsupportedModel
from windowtax.plan.profiles.base import ceil_div, rows_of, states_of
from windowtax.spec.cache import CacheLayout, LayerGroup

BLOCK_TOKENS = 16
"""Of layers without a recurrent neighbour; GPUs, "auto" (config/cache.py)."""
LATENT_BLOCK_TOKENS = 64
"""What blocks of latent rows (MLA) are a multiple of beside recurrent layers."""
COMPRESSED_BLOCK_TOKENS = 256
"""Of DeepSeek-V4 (FlashMLA sparse)."""
BATCHED_TOKENS = 8192
"""max_num_batched_tokens of the OpenAI server on a GPU of 70 GiB or more; 2,048 on smaller ones."""
PADDING_LIMITS = (Fraction(3, 2), Fraction(5, 4), Fraction(1))
"""Below this ratio of layer counts the larger one is the group size (1.5 since 2026, 1.25 before, neither at first)."""


@dataclass(frozen=True)
class _Part:
    """Layers of one cache, and the tokens in one of their pages. A state is one page of no tokens."""

    group: LayerGroup
    block_tokens: int

    @property
    def page_bytes(self) -> int:
        """Of one layer, before padding to the other parts."""
        return self.group.cache.block_bytes(self.block_tokens)

    @property
    def num_layers(self) -> int:
        return len(self.group.layers)

    @property
    def keeps(self) -> tuple[int | None, int | None, int | None, bool]:
        """Layers that keep equally many tokens can share a block table whatever their pages are."""
        cache = self.group.cache
        return cache.cap, cache.window, cache.keep_first, cache.is_state


@dataclass(frozen=True)
class VllmPool:
    """The pool of one rank. padding_limit: see PADDING_LIMITS. batched_tokens: of one step, all of one request.

    spare_pages: pages of the largest part that each block had on top, on models with compressed rows, before vLLM
    PR 48993. states: kept per request: 1, or 2 where prefix caching checkpoints them (mamba_cache_mode "align"); one
    more for each speculative token.
    """

    layout: CacheLayout
    block_tokens: int = BLOCK_TOKENS
    batched_tokens: int = BATCHED_TOKENS
    padding_limit: Fraction = PADDING_LIMITS[0]
    states: int = 1
    spare_pages: int = 0

    @cached_property
    def parts(self) -> tuple[_Part, ...]:
        """The layers by their cache, with pages of one size. Raises UnsupportedModel where vLLM cannot do that."""
        kept = [group for group in self.layout.groups if not group.cache.workspace and group not in self.guests]
        block = COMPRESSED_BLOCK_TOKENS if self.compressed and self.block_tokens == BLOCK_TOKENS else self.block_tokens
        parts = [_Part(group, max(block, self._state_block)) for group in kept]
        if len({part.keeps for part in parts}) == 1:
            return tuple(parts)
        pages = {part.page_bytes for part in parts if not part.group.cache.is_state}
        largest = max(pages, default=0)
        if any(largest % page for page in pages):
            sizes = ", ".join(f"{page:,}" for page in sorted(pages))
            raise UnsupportedModel(f"vLLM's pool needs pages of one size; here they are of {sizes} B.")
        return tuple(
            part if part.group.cache.is_state else _Part(part.group, part.block_tokens * (largest // part.page_bytes))
            for part in parts
        )

    @cached_property
    def compressed(self) -> bool:
        """Whether some rows stand for several tokens (DeepSeek-V4): all growing parts then share one block."""
        return any(group.cache.stride > 1 for group in self.layout.groups)

    @cached_property
    def guests(self) -> tuple[LayerGroup, ...]:
        """Windows of a model with compressed rows: they take whole blocks of the pool that those rows made."""
        if not self.compressed:
            return ()
        return tuple(group for group in rows_of(self.layout) if group.cache.cap is not None)

    @cached_property
    def uniform(self) -> bool:
        """Whether all layers keep equally many tokens: then each has its own tensor and nothing is padded."""
        return len({part.keeps for part in self.parts}) == 1

    @cached_property
    def _state_block(self) -> int:
        """Tokens of an attention block that a whole recurrent state fits into: a multiple of what kernels take."""
        states = [group.cache.sequence_bytes for group in states_of(self.layout)]
        tokens = [group.cache.token_bytes for group in rows_of(self.layout)]
        if not states or not tokens:
            return 0
        latent = any(plane.name == "latent" for group in rows_of(self.layout) for plane in group.cache.planes)
        unit = LATENT_BLOCK_TOKENS if latent else BLOCK_TOKENS
        return unit * ceil_div(max(states), unit * max(tokens))

    @cached_property
    def page_bytes(self) -> int:
        """Of one layer, as padded."""
        return max(part.page_bytes for part in self.parts)

    @cached_property
    def group_layers(self) -> int:
        """Layers of one group, which is the number of tensors."""
        counts = [part.num_layers for part in self.parts]
        return max(counts) if max(counts) < min(counts) * self.padding_limit else min(counts)

    @cached_property
    def groups_of(self) -> tuple[int, ...]:
        """How many groups each part is cut into; the last of them is filled up with layers that hold nothing."""
        if self.uniform:
            return (1,) * len(self.parts)
        return tuple(ceil_div(part.num_layers, self.group_layers) for part in self.parts)

    @cached_property
    def block_bytes(self) -> int:
        """Bytes of one block on one rank, in all tensors."""
        if self.uniform:
            pages = sum(part.page_bytes * part.num_layers for part in self.parts)
            return pages + self.spare_pages * self.page_bytes
        return self.page_bytes * self.group_layers

    def blocks_of_request(self, context_tokens: int) -> int:
        """Blocks that admit one request of this length (max_memory_usage_bytes of each spec)."""
        each = [self._blocks(part, context_tokens) for part in self.parts]
        if self.uniform:
            return each[0] + self._guest_blocks(context_tokens)
        return sum(count * n for count, n in zip(each, self.groups_of, strict=True))

    def _guest_blocks(self, context_tokens: int) -> int:
        """Assumed, no log shows it apart: windows in whole pages, packed into as few blocks as hold their bytes."""
        block = self.parts[0].block_tokens
        parts = (_Part(group, block) for group in self.guests)
        pages = sum(part.page_bytes * part.num_layers * self._blocks(part, context_tokens) for part in parts)
        return ceil_div(pages, self.block_bytes)

    def _blocks(self, part: _Part, context_tokens: int) -> int:
        cache, tokens = part.group.cache, context_tokens
        if cache.is_state:
            return self.states
        if cache.window is not None:
            # One more, because a window need not begin where a block does.
            return ceil_div(min(cache.window - 1 + self.batched_tokens, tokens), part.block_tokens) + 1
        if cache.cap is not None:
            tokens = min(cache.cap + self.batched_tokens, tokens)
        return ceil_div(min(tokens, cache.keep_first or tokens), part.block_tokens)

    @property
    def table_tokens(self) -> int:
        """Tokens of the shortest block."""
        rows = (part.block_tokens for part in self.parts if not part.group.cache.is_state)
        return min(rows, default=self.block_tokens)

    def tokens_by_blocks(self, num_blocks: int) -> int:
        """ "GPU KV cache size" as printed until 2026: blocks // groups * block size."""
        groups = 1 if self.uniform else sum(self.groups_of)
        return num_blocks // groups * self.table_tokens

    def tokens_by_requests(self, num_blocks: int, request_tokens: int) -> int:
        """ "GPU KV cache size" as printed since: int(how many longest requests fit * their length)."""
        return int(self.concurrency(num_blocks, request_tokens) * request_tokens)

    def concurrency(self, num_blocks: int, request_tokens: int) -> Fraction:
        """How many requests of this length fit."""
        return Fraction(num_blocks, self.blocks_of_request(request_tokens))

    def why(self, context_tokens: int) -> list[str]:
        """Sentences on what is not the architecture's own."""
        if self.uniform and self.parts[0].group.cache.cap is None:
            said = [f"Whole blocks of {self.table_tokens} tokens, {self.block_bytes:,} B on each rank."]
            if self.guests:
                blocks = self._guest_blocks(context_tokens)
                said.append(
                    f"Assumed, no log shows it apart: windows take {blocks:,} further blocks, with room for "
                    f"{self.batched_tokens:,} tokens in flight."
                )
            return said
        said = [
            f"{'+'.join(str(part.num_layers) for part in self.parts)} layers in {sum(self.groups_of)} groups of "
            f"{self.group_layers} share pages of {self.page_bytes:,} B."
        ]
        for part in self.parts:
            cache = part.group.cache
            if cache.is_state:
                said.append(
                    f"A recurrent state of {cache.sequence_bytes:,} B takes a page of {self.page_bytes:,} B "
                    f"({self.parts[0].block_tokens:,} tokens of attention); a request takes {self.states}, even the "
                    "shortest."
                )
            elif cache.window is not None and cache.window < context_tokens:
                said.append(
                    f"A window of {cache.window:,} is given {self._blocks(part, context_tokens):,} blocks of "
                    f"{part.block_tokens}: room for {self.batched_tokens:,} tokens in flight, and one more."
                )
        return said
