"""Full attention: one piece that reads from the first token on."""

from collections.abc import Iterator

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.softmax import Piece, SoftmaxLayer


@ATTENTION.register("full")
class FullLayer(SoftmaxLayer):
    """Computes spec.attention.full."""

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        yield Piece(start, end, 0)
