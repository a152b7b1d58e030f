"""int8 for keys: turned by a Hadamard matrix, with an fp32 scale per token and head.

Some channels of keys are far larger than the rest (of Qwen2.5's above all, by its biases); one scale serves them all
only once they are spread over the whole vector (Ashkboos et al. 2024, arXiv 2404.00456, section 3).
"""

from collections.abc import Sequence

from torch import Tensor

from windowtax.store.codecs.base import CODECS
from windowtax.store.codecs.int4_hadamard import turn
from windowtax.store.codecs.int8 import Int8


@CODECS.register("int8_hadamard")
class Int8Hadamard(Int8):
    """1 byte per number, 4 bytes per token and head. turned x = scale * code, code in -127 ... 127."""

    element = "int8_hadamard"

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        return super().encode(turn(values.float()))

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        return turn(super().decode(planes, shape))
