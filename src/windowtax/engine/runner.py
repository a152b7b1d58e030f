"""The runner: a Step becomes tensors, the tensors go through the decoder, logits come back."""

import torch
from torch import Tensor

from windowtax.cache.manager import CacheManager
from windowtax.nn.decoder import Decoder
from windowtax.nn.inputs import SequenceRows, StepInputs
from windowtax.schedule.step import Chunk, Step
from windowtax.store.kv import Extent, KVStore


class Runner:
    """Holds the decoder and the KV store."""

    def __init__(self, decoder: Decoder, cache: CacheManager, device: torch.device) -> None:
        self.decoder = decoder
        self.cache = cache
        self.device = device
        self.store = KVStore(cache.layout, cache.num_blocks, device)

    def run(self, step: Step) -> Tensor:
        """Logits [B, vocab_size] in float32: for each chunk that samples, a row per draft and one more, in order."""
        return self.decoder.forward(self.inputs(step))

    def inputs(self, step: Step) -> StepInputs:
        """The step's tokens, one chunk after the other."""
        token_ids: list[int] = []
        positions: list[int] = []
        sampled: list[int] = []
        slots: list[list[int]] = [[] for _ in self.cache.pools]
        sequences: list[SequenceRows] = []
        for chunk in step.chunks:
            first_row = len(token_ids)
            token_ids += chunk.token_ids
            positions += range(chunk.start, chunk.end)
            for group, table in enumerate(self.cache.tables(chunk.sequence.sequence_id)):
                slots[group] += table.slots(chunk.start, chunk.num_tokens, self.cache.layout.block_size)
            rows = slice(first_row, len(token_ids))
            sequences.append(SequenceRows(rows, chunk.start, chunk.sequence.max_tokens, self._extents(chunk)))
            if chunk.samples:
                sampled += range(len(token_ids) - 1 - chunk.num_drafts, len(token_ids))
        return StepInputs(
            token_ids=self._tensor(token_ids),
            positions=self._tensor(positions),
            slots=tuple(self._tensor(group) for group in slots),
            sequences=tuple(sequences),
            sampled_rows=self._tensor(sampled),
            store=self.store,
        )

    def _extents(self, chunk: Chunk) -> tuple[Extent, ...]:
        block_size = self.cache.layout.block_size
        return tuple(
            Extent.of(
                table.blocks, table.first * block_size, chunk.end - table.first * block_size, block_size, self.device
            )
            for table in self.cache.tables(chunk.sequence.sequence_id)
        )

    def _tensor(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self.device)
