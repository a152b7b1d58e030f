"""The runner: a Step goes to whoever computes, and logits come back, or only the largest of each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from windowtax.cache.manager import CacheManager
from windowtax.engine.candidates import Logits, NotANumber, likeliest
from windowtax.nn.recorded.decoder import RecordedDecoder, SequenceTables
from windowtax.schedule.step import Chunk, Step
from windowtax.store.planes import PlaneStore

if TYPE_CHECKING:
    from windowtax.nn.decoder import Decoder


class Runner(ABC):
    """Holds the KV store, and computes steps over it."""

    store: PlaneStore

    @abstractmethod
    def run(self, step: Step) -> Logits:
        """Logits [B, vocab_size] in float32: of each chunk's last tokens, `Chunk.num_logits` of them, in order.

        They are valid until the next step.
        """

    def choose(self, step: Step) -> list[int]:
        """Of each row of `run`'s logits the id of the largest, of equals the lowest. Raises WindowtaxError for NaN."""
        return likeliest(self.run(step))


def make_runner(decoder: Decoder | RecordedDecoder, cache: CacheManager, device: str) -> Runner:
    """The decoder's own."""
    if isinstance(decoder, RecordedDecoder):
        return NativeRunner(decoder, cache)
    from windowtax.engine.torch_runner import TorchRunner

    return TorchRunner(decoder, cache, device)


class NativeRunner(Runner):
    """The decoder writes its program for this store here, once."""

    def __init__(self, decoder: RecordedDecoder, cache: CacheManager) -> None:
        self.store = PlaneStore(cache.layout, cache.num_blocks)
        self._cache = cache
        self._recording = decoder.record(self.store)

    def run(self, step: Step) -> Logits:
        return self._recording.run([self._tables(chunk) for chunk in step.chunks])

    def choose(self, step: Step) -> list[int]:
        token_ids = self._recording.choose([self._tables(chunk) for chunk in step.chunks])
        if min(token_ids, default=0) < 0:
            raise NotANumber
        return token_ids

    def _tables(self, chunk: Chunk) -> SequenceTables:
        tables = self._cache.tables(chunk.sequence.sequence_id)
        return SequenceTables(
            chunk.token_ids,
            chunk.start,
            chunk.num_logits,
            chunk.sequence.max_tokens,
            [table.blocks for table in tables],
            [table.first for table in tables],
        )
