"""The tables of single kernels."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.kernels.figures import Figure
from benchmarks.kit.page import figure, table

from windowtax.base.units import format_bytes


def tables(run: Mapping[str, Any]) -> str:
    """Everything that one run found."""
    found: list[Figure] = run["figures"]
    short = run["gauge"]
    head = (
        f"{run['date']}; {run['cpu']}, {run['threads']} threads, kernels of the level {run['level']}; before it others "
        f"used {run['others_percent']:.0f}% of the processors; gauge {short['read_bytes_per_s'] / 1e9:.1f} GB/s read, "
        f"{short['bf16_flops_per_s'] / 1e12:.1f} TFLOP/s in bf16."
    )
    return "\n\n".join(
        [
            head,
            "### Decode attention of one sequence, GB/s",
            _decode([one for one in found if one["part"] == "decode"]),
            "### Products of many rows, TFLOP/s",
            _products([one for one in found if one["part"] == "products"]),
            "### Prefill attention, TFLOP/s of the scores and sums that are visible",
            _prefill([one for one in found if one["part"] == "prefill"]),
        ]
    )


def _decode(found: Sequence[Figure]) -> str:
    rows: list[list[str]] = []
    for dtype in dict.fromkeys(one["dtype"] for one in found):
        near, far = (
            next(one for one in found if one["dtype"] == dtype and one["near"] is where) for where in (True, False)
        )
        cells = [cell for one in (near, far) for cell in (format_bytes(one["bytes"]), *_shares(one, "stream", 1e9))]
        rows.append([dtype, *cells])
    parts = [f"{what} {where}" for where in ("near", "far") for what in ("cache,", "attention,", "a stream,", "share,")]
    return table(["cache", *parts], rows)


def _products(found: Sequence[Figure]) -> str:
    rows = [[f"{one['matrix']}, {one['weights'].lower()}", *_shares(one, "peak", 1e12)] for one in found]
    return table(["matrix, weights", "products", "in registers", "share"], rows)


def _prefill(found: Sequence[Figure]) -> str:
    rows = [
        [f"{one['heads']}, {one['rows']:,} tokens behind {one['start']:,}", *_shares(one, "peak", 1e12)]
        for one in found
    ]
    return table(["query / KV heads", "attention", "in registers", "share"], rows)


def _shares(one: Figure, beside: str, scale: float) -> list[str]:
    return [figure(one["rate"] / scale), figure(one[beside] / scale), f"{one['rate'] / one[beside]:.0%}"]
