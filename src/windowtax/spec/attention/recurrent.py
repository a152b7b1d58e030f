"""What all kinds with a fixed state share: every earlier token is folded into it, and no row of a token is kept.

The state of a layer has the same size however long the context is. Its convolution part is kept in the type of the
activations; in what bits the recurrent part is kept is a knob: what the config asks for, or `--cache-dtype
...+state:bf16`.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from windowtax.spec.attention.base import AttentionKind, Reading
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype, element_type
from windowtax.spec.planes import Growth, Plane


@dataclass(frozen=True, kw_only=True)
class RecurrentKind(AttentionKind):
    """state_element: the type of the recurrent state, by name; fp32 unless a config says otherwise.

    conv_kernel: tokens that the short convolution looks at; conv_kernel - 1 of them are kept. 0: there is none.
    """

    reading: ClassVar[Reading] = Reading.STATE
    conv_kernel: int = 4
    state_element: str = "fp32"

    @property
    @abstractmethod
    def conv_channels(self) -> int:
        """Channels of the short convolution."""

    @property
    @abstractmethod
    def state_shape(self) -> tuple[int, ...]:
        """The shape of the recurrent state."""

    @property
    @abstractmethod
    def flops_per_token(self) -> int:
        """FLOPs of folding one token into the state and reading the state once, as a recurrence."""

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        element = dtype.state or element_type(self.state_element)
        planes = [Plane("state", self.state_shape, element.name, element.bits, Growth.PER_SEQUENCE)]
        if self.conv_kernel > 1 and self.conv_channels:
            shape = (self.conv_channels, self.conv_kernel - 1)
            planes.insert(0, Plane("conv", shape, dtype.conv.name, dtype.conv.bits, Growth.PER_SEQUENCE))
        return (LayerCache(tuple(planes)),)

    def visible(self, query: int, key: int) -> bool:
        return key <= query

    def context_read(self, context_tokens: int) -> int:
        return 0

    def pairs(self, start: int, num_tokens: int) -> int:
        return 0

    def flops(self, start: int, num_tokens: int) -> int:
        return num_tokens * self.flops_per_token

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return 0
