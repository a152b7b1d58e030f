"""Which architectures keep so many bytes per token: layers of known designs, and published models of the catalog.

All bytes are asked of spec: planes of a CacheDtype in a LayerCache, or a model's CacheLayout.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil, floor
from typing import Any, cast

from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.catalog.read import model_names, read_model
from windowtax.price.xray.data import rows
from windowtax.price.xray.priors import Interval
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import BF16, FP8, INT4, CacheDtype

DTYPES = (
    CacheDtype("bf16", BF16, None, "2 bytes per number"),
    CacheDtype("fp8", FP8, None, "1 byte per number, scales not counted"),
    CacheDtype("4-bit", INT4, None, "half a byte per number, scales not counted"),
)
MOST_LAYERS = 200
"""No published model is deeper, so more layers of a design do not count as a possibility."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """What one growing layer keeps. planes: (name, heads, dimension) each."""

    title: str
    planes: tuple[tuple[str, int, int], ...]
    used_by: str

    def layer_bytes(self, dtype: CacheDtype) -> int:
        """Bytes of one token in one such layer."""
        planes = tuple(plane for name, heads, dim in self.planes for plane in dtype.vector_planes(name, heads, dim))
        return LayerCache(planes).token_bytes


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Layers of a design that fall inside an interval, by dtype name; None where no whole number does."""

    design: Design
    layers: dict[str, tuple[int, int] | None]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A model of the catalog whose cache grows by so many bytes per token in that dtype."""

    model: str
    dtype: str
    growth_bytes: int
    growing_layers: int


@cache
def designs() -> tuple[Design, ...]:
    """The designs of catalog/xray/designs.toml. Raises BadInput."""
    found: list[Design] = []
    for entry in rows("designs", "design"):
        planes: list[tuple[str, int, int]] = []
        for plane in cast("list[list[Any]]", entry.take("planes", list)):
            name, heads, dim = plane
            if not (isinstance(name, str) and isinstance(heads, int) and isinstance(dim, int)):
                raise BadInput(f"{entry.source}: a plane is [name, heads, dimension], not {plane}.")
            planes.append((name, heads, dim))
        found.append(Design(title=entry.take("title", str), planes=tuple(planes), used_by=entry.take("used_by", str)))
        entry.ignore({"source": "kept for readers", "date": "kept for readers"})
        entry.finish()
    return tuple(found)


def layers_inside(limit: Interval) -> tuple[Fit, ...]:
    """For every design and dtype, how many growing layers keep between limit.low and limit.high bytes per token."""
    return tuple(
        Fit(design=design, layers={dtype.name: _count(design.layer_bytes(dtype), limit) for dtype in DTYPES})
        for design in designs()
    )


def _count(layer_bytes: int, limit: Interval) -> tuple[int, int] | None:
    fewest = max(1, ceil(limit.low / layer_bytes))
    most = min(MOST_LAYERS, floor(limit.high / layer_bytes))
    return (fewest, most) if fewest <= most else None


@cache
def published() -> tuple[Published, ...]:
    """Every model of the catalog in bf16 and fp8, by growth. Models that cannot be read are left out."""
    found: list[Published] = []
    for name in model_names():
        try:
            spec = read_model(name)
        except WindowtaxError:
            continue
        for dtype in DTYPES[:2]:
            layout = spec.layout(dtype)
            growing = sum(len(group.layers) for group in layout.groups if group.cache.grows)
            growth = layout.growth_bytes_per_token
            if growing:
                found.append(Published(model=name, dtype=dtype.name, growth_bytes=growth, growing_layers=growing))
    return tuple(sorted(found, key=lambda one: one.growth_bytes))


def published_inside(limit: Interval) -> tuple[Published, ...]:
    """The published models inside an interval, smallest cache first."""
    return tuple(one for one in published() if one.growth_bytes in limit)
