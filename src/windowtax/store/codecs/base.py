"""The protocol of a codec: vectors to the planes that the CacheLayout declares for them, and back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from torch import Tensor

from windowtax.base.errors import BadInput
from windowtax.base.registry import Registry
from windowtax.spec.dtypes import CACHE_DTYPES, CacheDtype
from windowtax.spec.planes import Plane


class Codec(ABC):
    """Rows of numbers in one element type, with the scales that belong to them.

    element, scale: the element types of the two planes; scale None: there is no plane of scales. scales: how many
    belong to each vector. span: tokens that share one row of scales; encode and decode then take whole spans.
    no_keys: why keys are not kept like this.
    """

    element: ClassVar[str]
    scale: ClassVar[str | None] = None
    scales: ClassVar[int] = 1
    span: ClassVar[int] = 1
    no_keys: ClassVar[str | None] = None

    @abstractmethod
    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        """values [T, ...] of any float type -> the codes [T, ...], and the scales [T / span, ...] if there are any."""

    @abstractmethod
    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        """The bytes of these planes, uint8 [T, ...] and [T / span, ...], -> numbers [T, *shape] of a float type."""


CODECS: Registry[type[Codec]] = Registry("codec", "windowtax.store.codecs")


def codec_of(data: Plane, scale: Plane | None) -> Codec:
    """The codec of a plane and its scales. Raises BadInput where the engine has none, or keys would lose too much."""
    found = _find(data, scale)
    if found is None:
        raise BadInput(
            f"The engine does not store a cache of {data.element} like this yet; plans know it.",
            f"Use --cache-dtype {', '.join(storable())}.",
        )
    if data.name == "k" and found.no_keys:
        raise BadInput(f"The engine does not keep keys in {data.element}: {found.no_keys}.", "Use --cache-dtype k4v4.")
    return found


@cache
def storable() -> tuple[str, ...]:
    """Names of the cache dtypes that the engine stores, for keys and values of heads."""
    return tuple(name for name, dtype in CACHE_DTYPES.items() if not dtype.latent_only and _stores(dtype))


def _stores(dtype: CacheDtype) -> bool:
    dim = max(dtype.group or 1, dtype.values.group or 1, 64)
    keys, values = dtype.key_planes(1, dim), dtype.values.vector_planes("v", 1, dim)
    key_codec, value_codec = (_find(data, scale[0] if scale else None) for data, *scale in (keys, values))
    return key_codec is not None and not key_codec.no_keys and value_codec is not None


def _find(data: Plane, scale: Plane | None) -> Codec | None:
    element, span = (None, 1) if scale is None else (scale.element, scale.span)
    for _, codec in CODECS.items():
        per_vector = scale is None or span > 1 or _scale_shape(data, codec) == scale.shape
        if per_vector and (codec.element, codec.scale, codec.span) == (data.element, element, span):
            return codec()
    return None


def _scale_shape(data: Plane, codec: type[Codec]) -> tuple[int, ...]:
    return data.shape[:-1] + ((codec.scales,) if codec.scales > 1 else ())
