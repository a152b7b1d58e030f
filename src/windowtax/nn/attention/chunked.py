"""Chunked attention: one piece per chunk that the queries touch, each reading from its chunk's first token on."""

from collections.abc import Iterator

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.softmax import Piece, SoftmaxLayer


@ATTENTION.register("chunked")
class ChunkedLayer(SoftmaxLayer):
    """Computes spec.attention.chunked."""

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        chunk = self.spec.chunk
        assert chunk is not None
        while start < end:
            base = start - start % chunk
            stop = min(end, base + chunk)
            yield Piece(start, stop, base)
            start = stop
