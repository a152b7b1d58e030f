"""Sinks and a window: as long as both together hold everything one piece; then tiles, and the sinks beside each."""

from collections.abc import Iterator
from typing import cast

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.sliding import QUERY_TILE
from windowtax.nn.attention.softmax import Piece, SoftmaxLayer
from windowtax.spec.attention.sinks_window import SinksWindowAttention


@ATTENTION.register("sinks_window")
class SinksWindowLayer(SoftmaxLayer):
    """Computes spec.attention.sinks_window."""

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        spec = cast(SinksWindowAttention, self.spec)
        sinks, window = spec.sink_tokens, spec.window_tokens
        whole = min(end, sinks + window)
        if start < whole:
            yield Piece(start, whole, 0)
        for first in range(max(start, whole), end, QUERY_TILE):
            last = min(first + QUERY_TILE, end)
            yield Piece(first, last, max(sinks, first - window + 1), window, sinks)
