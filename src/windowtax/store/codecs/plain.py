"""Floats as they are."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from windowtax.store.codecs.base import CODECS, Codec


class PlainCodec(Codec):
    """One float type, rounded to nearest even. A subclass names it."""

    dtype: ClassVar[torch.dtype]

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        return (values.to(self.dtype),)

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        return planes[0].view(self.dtype).unflatten(-1, shape)


@CODECS.register("fp32")
class Fp32(PlainCodec):
    """4 bytes per number."""

    element, dtype = "fp32", torch.float32


@CODECS.register("bf16")
class Bf16(PlainCodec):
    """2 bytes per number, the exponents of fp32."""

    element, dtype = "bf16", torch.bfloat16


@CODECS.register("fp16")
class Fp16(PlainCodec):
    """2 bytes per number."""

    element, dtype = "fp16", torch.float16
