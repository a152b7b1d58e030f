"""A short gated convolution in place of attention: the only state is its last inputs (LFM2; Liquid AI 2025, arXiv
2511.23404, section 2)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.softmax import split
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.planes import Growth, Plane
from windowtax.spec.weights import Weight


@KINDS.register("short_conv")
@dataclass(frozen=True, kw_only=True)
class ShortConv(RecurrentKind):
    """conv(b * x) * c over `channels` channels, b, c and x from one projection."""

    kind: ClassVar[str] = "short_conv"
    channels: int
    bias: bool = False

    @property
    def conv_channels(self) -> int:
        return self.channels

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (0,)

    @property
    def flops_per_token(self) -> int:
        # The convolution, and the two gates.
        return (2 * self.conv_kernel + 2) * self.channels

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        shape = (self.channels, self.conv_kernel - 1)
        return (LayerCache((Plane("conv", shape, dtype.conv.name, dtype.conv.bits, Growth.PER_SEQUENCE),)),)

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        rows = 3 * self.channels
        found = [
            Weight("in", (rows, hidden_size)),
            Weight("conv", (self.channels, 1, self.conv_kernel)),
            Weight("o", (hidden_size, self.channels)),
        ]
        if self.bias:
            found += [
                Weight("in_bias", (rows,)),
                Weight("conv_bias", (self.channels,)),
                Weight("o_bias", (hidden_size,)),
            ]
        return tuple(found)

    def shard(self, tensor_parallel: int) -> Self:
        return replace(self, channels=split(self.channels, tensor_parallel, "channels of the convolution"))
