"""fp8: e4m3 without infinities (Micikevicius et al. 2022, arXiv 2209.05433, section 3), saturating, without a scale."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windowtax.store.codecs.base import CODECS, Codec

GREATEST = 448.0
"""The greatest number of e4m3. What is beyond becomes it, where a plain cast would give NaN."""


@CODECS.register("fp8")
class Fp8(Codec):
    """1 byte per number."""

    element = "fp8"

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        return (to_fp8(values),)

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        return planes[0].view(torch.float8_e4m3fn).float().unflatten(-1, shape)


def to_fp8(values: Tensor) -> Tensor:
    """Nearest numbers of e4m3."""
    return values.float().clamp(-GREATEST, GREATEST).to(torch.float8_e4m3fn)
