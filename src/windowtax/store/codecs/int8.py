"""int8 with an fp32 scale per token and head."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windowtax.store.codecs.base import CODECS, Codec
from windowtax.store.codecs.scaled import scale_of

GREATEST = 127


@CODECS.register("int8")
class Int8(Codec):
    """1 byte per number, 4 bytes per token and head. x = scale * code, code in -127 ... 127."""

    element, scale = "int8", "fp32"

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        wide = values.float()
        scale, inverse = scale_of(wide, GREATEST)
        return (wide * inverse[..., None]).round_().clamp_(-GREATEST, GREATEST).to(torch.int8), scale

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        codes = planes[0].view(torch.int8).unflatten(-1, shape)
        return codes * planes[1].view(torch.float32)[..., None]
