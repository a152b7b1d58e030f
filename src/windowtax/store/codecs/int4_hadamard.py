"""int4 for values: turned by a Hadamard matrix, with a scale and a middle in fp16 per token and head.

The matrix spreads numbers that stand out over all of a vector, so that one scale serves it well (Ashkboos et al. 2024,
arXiv 2404.00456, section 3). It is its own inverse.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from windowtax.store.codecs.base import CODECS, Codec
from windowtax.store.codecs.scaled import pack_nibbles, unpack_nibbles

LEAST, GREATEST = -8, 7


@CODECS.register("int4_hadamard")
class Int4Hadamard(Codec):
    """Half a byte per number, 4 bytes per token and head. turned x = scale * code + middle, code in -8 ... 7.

    Scale and middle are rounded to fp16 before codes are chosen, so that codes make up for their rounding. The plane of
    scales holds [heads, 2]: a head's scale, then its middle.
    """

    element, scale, scales = "int4_hadamard", "fp16", 2
    no_keys = "with one scale per token they lose too much, since some channels of keys are far larger than others"

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        turned = turn(values.float())
        least, most = turned.amin(-1), turned.amax(-1)
        step = (most - least) / (GREATEST - LEAST)
        kept = torch.stack([step, least - LEAST * step], dim=-1).half()
        scale, middle = kept.float().unsqueeze(-2).unbind(-1)
        inverse = torch.where(scale > 0, scale.reciprocal(), 0.0)
        codes = ((turned - middle) * inverse).round_().clamp_(LEAST, GREATEST)
        return pack_nibbles(codes.flatten(1) - LEAST), kept

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        codes = unpack_nibbles(planes[0]).to(torch.int8).add_(LEAST).unflatten(-1, shape)
        scale, middle = planes[1].view(torch.float16).unflatten(-1, (-1, 1, 2)).float().unbind(-1)
        return turn(codes * scale + middle)


def turn(vectors: Tensor) -> Tensor:
    """Vectors [..., D] times the Hadamard matrix of the greatest power of two that divides D, group by group."""
    size = vectors.shape[-1] & -vectors.shape[-1]
    return (vectors.unflatten(-1, (-1, size)) @ _hadamard(size).to(vectors.device)).flatten(-2)


@cache
def _hadamard(size: int) -> Tensor:
    """Sylvester's construction, [size, size] in float32, scaled so that it is its own inverse."""
    found = torch.ones(1, 1)
    while found.shape[0] < size:
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    return found / size**0.5
