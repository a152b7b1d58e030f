"""The tables of the README, out of results.json."""

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.kit.page import figure, measured_on, table
from benchmarks.tiers.cells import SOURCES, TAIL_TOKENS, K, Piece, pieces

from windowtax.price.own_lists import memory_tiers

Rounds = Mapping[str, list[dict[str, Any]]]
_MB, _GB = 1e6, 1e9
_HOURS_PER_MONTH = 730


def tables(rounds: Rounds) -> str:
    """All that was measured."""
    chosen = [piece for piece in pieces() if rounds.get(piece.key)]
    sources = [piece for piece in chosen if not piece.rule]
    out = [measured_on([one for found in rounds.values() for one in found]) + f"; tails of {TAIL_TOKENS} tokens."]
    if sources:
        out += ["### TTFT of a prefix and 64 tokens behind it, ms", _ttft(sources, rounds)]
        out += ["### What comes from the SSD, and what the disk does itself", _bandwidth(sources, rounds)]
    for piece in chosen:
        if piece.rule:
            out += [
                f"### What the engine chooses, {piece.model.short} {piece.cache_dtype}",
                _choices(rounds[piece.key]),
            ]
    out += ["### What keeping costs", _rents(sources, rounds)]
    return "\n\n".join(out)


def ttft_s(one: dict[str, Any], source: str) -> float:
    """The median of what one piece saw."""
    return statistics.median(entry["ttft_s"] for entry in one[source])


def _over(rounds: list[dict[str, Any]], source: str) -> float:
    return statistics.median(ttft_s(one, source) for one in rounds)


def _ttft(chosen: list[Piece], rounds: Rounds) -> str:
    head = ["prefix, cache", *SOURCES.values(), "saved from SSD", "from host RAM", "from device"]
    rows: list[list[str]] = []
    for piece in chosen:
        times = {source: _over(rounds[piece.key], source) for source in SOURCES}
        saved = [f"{1 - times[source] / times['cold']:.1%}" for source in ("disk", "host", "device")]
        rows.append([piece.key, *(figure(seconds * 1e3) for seconds in times.values()), *saved])
    return table(head, rows)


def _bandwidth(chosen: list[Piece], rounds: Rounds) -> str:
    head = ["prefix, cache", "B per token", "read, MB", "reached, GB/s", "the disk: direct", "through dropped pages"]
    head += ["page cache: reached", "page cache: itself", "reading pays above, GB/s"]
    rows: list[list[str]] = []
    for piece in chosen:
        found = rounds[piece.key]
        size = found[0]["bytes_per_token"] * piece.tokens
        device, cold = _over(found, "device"), _over(found, "cold")
        row = [piece.key, f"{found[0]['bytes_per_token']:,}", f"{size / _MB:,.0f}"]
        row += [_rate(size / (_over(found, "disk") - device)), _own(found, "direct"), _own(found, "dropped")]
        row += [_rate(size / (_over(found, "disk_warm") - device)), _own(found, "cached")]
        rows.append([*row, _rate(size / (cold - device))])
    return table(head, rows)


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s / _GB:.2f}"


def _own(found: list[dict[str, Any]], how: str) -> str:
    known = [rate for one in found if (rate := one[f"own_{how}_bytes_per_s"]) is not None]
    return _rate(statistics.median(known)) if known else "refused"


def _choices(found: list[dict[str, Any]]) -> str:
    """By length and slowed rate: both ways by the clock, which is faster, and which one the engine took."""
    head = ["reads at, MB/s", "prefix", "computed, ms", "loaded, ms", "faster", "the engine", "its choice took, ms"]
    head.append("to the faster way")
    cells: dict[tuple[float, int], list[dict[str, Any]]] = {}
    for one in found:
        for cell in one["choices"]:
            cells.setdefault((cell["link_bytes_per_s"] or 0.0, cell["tokens"]), []).append(cell)
    rows: list[list[str]] = []
    for (rate, tokens), same in cells.items():
        compute, load, chosen = (
            statistics.median(cell[name]["ttft_s"] for cell in same) for name in ("compute", "load", "chosen")
        )
        took = "loads" if statistics.median(cell["loaded"] for cell in same) > 0.5 else "computes"
        name = f"{tokens // K}K" if tokens >= K else str(tokens)
        row = [f"{rate / _MB:,.0f}" if rate else "not slowed", name, figure(compute * 1e3), figure(load * 1e3)]
        row += ["loading" if load < compute else "computing", took, figure(chosen * 1e3)]
        rows.append([*row, f"{chosen / min(compute, load):.2f}"])
    return table(head, rows)


def _rents(chosen: list[Piece], rounds: Rounds) -> str:
    """At the catalog's rents: the same bytes in DRAM and on an SSD, for a month."""
    tiers = memory_tiers()
    dram, ssd = (tiers[name].usd_per_gb_hour for name in ("dram", "ssd"))
    head = ["", "bytes", f"host DRAM ({dram.basis}), USD a month", f"SSD ({ssd.basis}), USD a month", "DRAM : SSD"]
    rows = [_rent_row("1 GB", 1e9, dram.value, ssd.value)]
    for piece in chosen:
        size = rounds[piece.key][0]["bytes_per_token"] * piece.tokens
        rows.append(_rent_row(f"a prefix of {piece.key}", size, dram.value, ssd.value))
    return table(head, rows)


def _rent_row(name: str, size: float, dram: float, ssd: float) -> list[str]:
    month = size / _GB * _HOURS_PER_MONTH
    return [name, f"{size:,.0f}", f"{month * float(dram):,.4f}", f"{month * float(ssd):,.4f}", f"{dram / ssd:.0f}"]
