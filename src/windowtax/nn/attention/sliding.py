"""Sliding window: tiles of queries, each with the window before it, so masks stay small whatever the chunk."""

from collections.abc import Iterator

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.softmax import Piece, SoftmaxLayer

QUERY_TILE = 256
"""Queries per tile. A tile reads window + QUERY_TILE - 1 keys: small tiles waste few scores, large ones few calls."""


@ATTENTION.register("sliding")
class SlidingLayer(SoftmaxLayer):
    """Computes spec.attention.sliding."""

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        window = self.spec.window
        assert window is not None
        if end <= window:
            yield Piece(start, end, 0)
            return
        for first in range(start, end, QUERY_TILE):
            yield Piece(first, min(first + QUERY_TILE, end), max(0, first - window + 1), window)
