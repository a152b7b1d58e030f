"""fp8 with an fp32 scale per token and head: the greatest number of each vector becomes the greatest of e4m3."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windowtax.store.codecs.base import CODECS, Codec
from windowtax.store.codecs.fp8 import GREATEST, to_fp8
from windowtax.store.codecs.scaled import scale_of


@CODECS.register("fp8_token_head")
class Fp8TokenHead(Codec):
    """1 byte per number, 4 bytes per token and head. x = scale * code."""

    element, scale = "fp8", "fp32"

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        wide = values.float()
        scale, inverse = scale_of(wide, GREATEST)
        return to_fp8(wide * inverse[..., None]), scale

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        codes = planes[0].view(torch.float8_e4m3fn).float().unflatten(-1, shape)
        return codes * planes[1].view(torch.float32)[..., None]
