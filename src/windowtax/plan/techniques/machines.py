"""More or other hardware: ranks, rings, host memory, newer chips."""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.base.units import GIB
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.techniques.base import Pair, State, technique

_RING = 4
_NEWER = "b200-sxm"
_HOST_BYTES, _PCIE_BYTES_PER_S = 256 * GIB, 55e9
"""Assumed: 2 TiB of host memory for a node of eight; PCIe 5 x16 as it is reached (64 GB/s on paper)."""


@technique(
    "tensor-parallel",
    "Tensor parallelism",
    paths=(3,),
    term="BW, C and memory x ranks; link",
    article='5: "scale-up", path 3',
    source="Shoeybi et al. 2019, arXiv 1909.08053",
)
def tensor_parallel(base: State) -> Pair:
    """Twice the ranks, with their all-reduces and copies, against as many ranks as there are chips."""
    ranks = base.chips * 2
    if ranks > base.chip.node_size or not base.sizing.splits(ranks):
        raise BadInput(
            f"{base.spec.name} cannot be split over {ranks} ranks of {base.chip.title}.", "Give fewer --gpus."
        )
    change = f"{base.chips} ranks become {ranks}: twice the price per hour"
    return Pair(without=base.spread(base.chips), with_it=base.spread(ranks), change=change)


@technique(
    "ring-attention",
    "Ring attention",
    paths=(3,),
    term="C and memory x ring; the prompt is cut",
    article="3: ring table; 4: spreading the sequence out",
    source="Liu et al. 2023, arXiv 2310.01889",
)
def ring_attention(base: State) -> Pair:
    """Four parts of each sequence, interleaved; each part has all weights."""
    ring = replace(base, deployment=replace(base.deployment, ring=_RING))
    return Pair(
        without=base, with_it=ring, change=f"{_RING} groups hold a part of each sequence: {_RING}x the price per hour"
    )


@technique(
    "newer-chip",
    "A newer chip",
    paths=(3,),
    term="BW, C and memory",
    article="5: path 3, Blackwell",
    source="catalog/hardware/b200-sxm.toml",
)
def newer_chip(base: State) -> Pair:
    """As many B200 in the place of what there is."""
    newer = hardware(_NEWER)
    if base.chip.name == newer.name:
        raise BadInput(f"{newer.title} is the newest chip of the catalog.", "Give another --hardware.")
    return Pair(without=base, with_it=base.on(newer), change=f"{base.chip.title} becomes {newer.title}")


@technique(
    "offload",
    "Idle windows in host memory",
    paths=(3,),
    term="windows kept, and TTFT of one that comes back",
    article="1: SSD-backed cache",
    source="host memory and PCIe rate assumed: 256 GiB and 55 GB/s per accelerator",
)
def offload(base: State) -> Pair:
    """Windows of users who do not ask now lie in host memory and come back, instead of being computed again."""
    apart = replace(base, extra_bytes=base.chips * _HOST_BYTES, reload_bytes_per_s=base.chips * _PCIE_BYTES_PER_S)
    return Pair(without=base, with_it=apart, change="256 GiB of host memory per accelerator, 55 GB/s (assumed)")
