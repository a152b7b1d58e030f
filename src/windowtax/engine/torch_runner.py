"""torch computes: the weights become tensors, a Step becomes tensors, and these go through the decoder.

This file alone is where the engine comes to torch; it is imported when native kernels do not compute, and not before.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod

import torch
from torch import Tensor

from windowtax.cache.manager import CacheManager
from windowtax.cache.table import BlockTable
from windowtax.engine.candidates import Logits
from windowtax.engine.checkpoint import ModelWeights
from windowtax.engine.runner import Runner
from windowtax.nn.decoder import Decoder
from windowtax.nn.inputs import SequenceRows, StepInputs
from windowtax.ops.dtypes import TORCH_DTYPES
from windowtax.schedule.step import Chunk, Step
from windowtax.spec.cache import LayerCache
from windowtax.spec.model import ModelSpec
from windowtax.store.extent import Extent
from windowtax.store.kv import KVStore
from windowtax.store.planes import rows_per_block

_NUMBERS_AT_ONCE = 1 << 22
"""Numbers of a weight that are read together: bounds the float32 copy that reading makes on the way."""


def make_decoder(spec: ModelSpec, weights: ModelWeights, dtype: str, device: str) -> Decoder:
    """The decoder with its weights in that dtype, on that device."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return Decoder(spec, lambda name: _tensor(weights, name, TORCH_DTYPES[dtype], pool).to(device))


def _tensor(weights: ModelWeights, name: str, dtype: torch.dtype, pool: ThreadPoolExecutor) -> Tensor:
    shape = weights.shape(name)
    out = torch.empty(shape, dtype=dtype)
    step = max(1, _NUMBERS_AT_ONCE // prod(shape[1:]))

    def read(start: int) -> None:
        end = min(start + step, shape[0])
        out[start:end] = torch.from_numpy(weights.floats(name, start, end))

    list(pool.map(read, range(0, shape[0], step)))
    return out


class TorchRunner(Runner):
    """Steps as tensors."""

    store: KVStore

    def __init__(self, decoder: Decoder, cache: CacheManager, device: str) -> None:
        self.cache = cache
        self.device = torch.device(device)
        self.store = KVStore(cache.layout, cache.num_blocks, self.device)
        self._decoder = decoder

    def run(self, step: Step) -> Logits:
        return self._decoder.forward(self.inputs(step)).numpy(force=True)

    def inputs(self, step: Step) -> StepInputs:
        """The step's tokens, one chunk after the other."""
        token_ids: list[int] = []
        positions: list[int] = []
        sampled: list[int] = []
        kept: list[list[int]] = [[] for _ in self.cache.pools]
        slots: list[list[int]] = [[] for _ in self.cache.pools]
        sequences: list[SequenceRows] = []
        for chunk in step.chunks:
            first_row = len(token_ids)
            token_ids += chunk.token_ids
            positions += range(chunk.start, chunk.end)
            for group, table in enumerate(self.cache.tables(chunk.sequence.sequence_id)):
                begin, end = self._kept(group, table, chunk)
                kept[group] += range(first_row + begin - chunk.start, first_row + end - chunk.start)
                slots[group] += table.slots(begin, end - begin, self.cache.layout.block_size)
            rows = slice(first_row, len(token_ids))
            extents, checkpoints = self._extents(chunk), self._checkpoints(chunk)
            sequences.append(SequenceRows(rows, chunk.start, chunk.sequence.max_tokens, extents, checkpoints))
            sampled += range(len(token_ids) - chunk.num_logits, len(token_ids))
        return StepInputs(
            token_ids=self._tensor(token_ids),
            positions=self._tensor(positions),
            kept=tuple(None if len(rows) == len(token_ids) else self._tensor(rows) for rows in kept),
            slots=tuple(self._tensor(group) for group in slots),
            sequences=tuple(sequences),
            sampled_rows=self._tensor(sampled),
            store=self.store,
        )

    def _kept(self, group: int, table: BlockTable, chunk: Chunk) -> tuple[int, int]:
        """First and past-the-last position of the chunk's tokens that a group of rows of tokens keeps."""
        layout = self.cache.layout
        cache = layout.groups[group].cache
        if cache.is_state or cache.stride > 1:
            return chunk.start, chunk.start
        begin = max(chunk.start, table.first * layout.block_size)
        return begin, max(begin, min(chunk.end, table.end * layout.block_size))

    def _extents(self, chunk: Chunk) -> tuple[Extent, ...]:
        tables = self.cache.tables(chunk.sequence.sequence_id)
        groups = self.cache.layout.groups
        return tuple(self._extent(group.cache, table, chunk.end) for group, table in zip(groups, tables, strict=True))

    def _checkpoints(self, chunk: Chunk) -> tuple[tuple[int, Mapping[int, Extent]], ...]:
        planned = self.cache.checkpoints(chunk.sequence.sequence_id)
        return tuple(
            (position, {group: Extent.of([block], 0, 1, 1, self.device) for group, block in blocks.items()})
            for position, blocks in sorted(planned.items())
            if position <= chunk.end
        )

    def _extent(self, cache: LayerCache, table: BlockTable, num_tokens: int) -> Extent:
        per_block = rows_per_block(cache, self.cache.layout.block_size)
        first = table.first * per_block
        num_rows = 1 if cache.is_state else -(-num_tokens // cache.stride)
        return Extent.of(table.blocks, first, min(num_rows, table.end * per_block) - first, per_block, self.device)

    def _tensor(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self.device)
