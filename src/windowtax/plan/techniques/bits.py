"""Fewer bits: of the cache (b), and of the weights (w)."""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.plan.schemes import weight_scheme
from windowtax.plan.techniques.base import Pair, State, technique
from windowtax.spec.dtypes import cache_dtype

_ARTICLE = '5: "path 3, effective BW grows"; but it is w and b that shrink'


def _cache_bits(base: State, name: str) -> Pair:
    plain, fewer = (replace(base, sizing=replace(base.sizing, dtype=cache_dtype(dtype))) for dtype in ("bf16", name))
    context = base.sizing.workload.context_tokens
    before, after = (state.sizing.layout().bytes_for(context) for state in (plain, fewer))
    return Pair(
        without=plain, with_it=fewer, change=f"a window of {before:,} B becomes one of {after:,} B, scales counted"
    )


def _weight_bits(base: State, name: str) -> Pair:
    plain, fewer = (
        replace(base, sizing=replace(base.sizing, scheme=weight_scheme(scheme, base.spec))) for scheme in ("bf16", name)
    )
    hardware = base.chip
    element = hardware.compute_element(fewer.sizing.scheme.compute)
    return Pair(
        without=plain,
        with_it=fewer,
        change=f"{fewer.sizing.scheme.note}; {hardware.title} multiplies them in {element}",
    )


@technique(
    "kv-fp8",
    "FP8 cache",
    paths=(2,),
    term="b: bytes per number",
    article=_ARTICLE,
    source="Micikevicius et al. 2022, arXiv 2209.05433; vLLM --kv-cache-dtype fp8",
)
def kv_fp8(base: State) -> Pair:
    """One byte per number instead of two."""
    return _cache_bits(base, "fp8")


@technique(
    "kv-int4",
    "INT4 cache",
    paths=(2,),
    term="b: bytes per number",
    article=_ARTICLE,
    source="Liu et al. 2024 (KIVI), arXiv 2402.02750",
)
def kv_int4(base: State) -> Pair:
    """Half a byte per number and a scale per token and head."""
    return _cache_bits(base, "int4")


@technique(
    "weights-fp8",
    "FP8 weights",
    paths=(1, 3),
    term="w, and C where the chip multiplies in fp8",
    article=_ARTICLE,
    source="Micikevicius et al. 2022, arXiv 2209.05433",
)
def weights_fp8(base: State) -> Pair:
    """One byte per weight, multiplied in fp8 where the chip can."""
    if base.spec.weight_dtype == "fp4":
        raise BadInput(f"{base.spec.name} has fewer bits already.")
    return _weight_bits(base, "fp8")


@technique(
    "weights-int4",
    "INT4 weights",
    paths=(1,),
    term="w; computed in bf16",
    article="5: path 1, quantization",
    source="Lin et al. 2023 (AWQ), arXiv 2306.00978",
)
def weights_int4(base: State) -> Pair:
    """Half a byte per weight and a scale per 128; widened to bf16 before they are multiplied."""
    return _weight_bits(base, "int4")
