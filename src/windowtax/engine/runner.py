"""The runner: a Step becomes tensors, the tensors go through the decoder, logits come back."""

from collections.abc import Callable

import torch
from torch import Tensor

from windowtax.cache.manager import CacheManager
from windowtax.cache.table import BlockTable
from windowtax.nn.decoder import Decoder
from windowtax.nn.inputs import SequenceRows, StepInputs
from windowtax.nn.recorded.decoder import RecordedDecoder, SequenceTables
from windowtax.schedule.step import Chunk, Step
from windowtax.spec.cache import LayerCache
from windowtax.store.extent import Extent
from windowtax.store.kv import KVStore, rows_per_block


class Runner:
    """Holds the decoder and the KV store. A recorded decoder writes its program for this store here, once."""

    def __init__(self, decoder: Decoder | RecordedDecoder, cache: CacheManager, device: torch.device) -> None:
        self.cache = cache
        self.device = device
        self.store = KVStore(cache.layout, cache.num_blocks, device)
        self._compute: Callable[[Step], Tensor]
        if isinstance(decoder, RecordedDecoder):
            recording = decoder.record(self.store)
            self._compute = lambda step: recording.run([self._tables(chunk) for chunk in step.chunks])
        else:
            self._compute = lambda step: decoder.forward(self.inputs(step))

    def run(self, step: Step) -> Tensor:
        """Logits [B, vocab_size] in float32: of each chunk's last tokens, `Chunk.num_logits` of them, in order.

        They are valid until the next step.
        """
        return self._compute(step)

    def _tables(self, chunk: Chunk) -> SequenceTables:
        tables = self.cache.tables(chunk.sequence.sequence_id)
        return SequenceTables(
            chunk.token_ids,
            chunk.start,
            chunk.num_logits,
            chunk.sequence.max_tokens,
            [table.blocks for table in tables],
            [table.first for table in tables],
        )

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
            sequences.append(SequenceRows(rows, chunk.start, chunk.sequence.max_tokens, self._extents(chunk)))
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

    def _extent(self, cache: LayerCache, table: BlockTable, num_tokens: int) -> Extent:
        per_block = rows_per_block(cache, self.cache.layout.block_size)
        first = table.first * per_block
        num_rows = 1 if cache.is_state else -(-num_tokens // cache.stride)
        return Extent.of(table.blocks, first, min(num_rows, table.end * per_block) - first, per_block, self.device)

    def _tensor(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self.device)
