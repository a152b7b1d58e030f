"""int4 with an fp32 scale per token and head: two numbers per byte. For values; keys have channels that stand out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windowtax.store.codecs.base import CODECS, Codec
from windowtax.store.codecs.scaled import pack_nibbles, scale_of, unpack_nibbles

GREATEST, OFFSET = 7, 8


@CODECS.register("int4")
class Int4(Codec):
    """Half a byte per number, 4 bytes per token and head. x = scale * code, code in -7 ... 7, kept with 8 added."""

    element, scale = "int4", "fp32"
    no_keys = "with one scale per token they lose too much, since some channels of keys are far larger than others"

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        wide = values.float()
        scale, inverse = scale_of(wide, GREATEST)
        codes = (wide * inverse[..., None]).round_().clamp_(-GREATEST, GREATEST)
        return pack_nibbles(codes.flatten(1) + OFFSET), scale

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        codes = unpack_nibbles(planes[0]).to(torch.int8).sub_(OFFSET).unflatten(-1, shape)
        return codes * planes[1].view(torch.float32)[..., None]
