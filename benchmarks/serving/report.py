"""The tables of the README, out of results.json."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.kit.page import figure, measured_on, table
from benchmarks.serving.cells import AT_ONCE, ENGINES, LOADS, REPEATED_TOKENS, RIVALS, K

Rounds = Mapping[str, list[dict[str, Any]]]
_SCENARIO = {"shared": "A shared 2K prefix", "none": "No shared prefix"}
_METRICS = {
    "output_tokens_per_s": ("output tokens/s", 1.0, True),
    "total_tokens_per_s": ("tokens/s in all, prompts included", 1.0, True),
    "ttft_s": ("TTFT, ms", 1e3, False),
    "tpot_s": ("TPOT, ms", 1e3, False),
}
"""By key: title, factor of what is shown, and whether more is better."""


def tables(rounds: Rounds) -> str:
    """All that was measured."""
    out = [_machine(rounds)]
    for scenario in LOADS:
        for metric, (title, factor, more_is_better) in _METRICS.items():
            rows = [
                _row(str(count), lambda engine, s=scenario, m=metric, c=count: _cell(rounds, engine, s, c, m), factor,
                     more_is_better)
                for count in AT_ONCE
            ]  # fmt: skip
            out += [f"### {_SCENARIO[scenario]}: {title}", table(["at once", *_HEAD], rows)]
        out += [
            f"### {_SCENARIO[scenario]}: part of the prompts found in the cache",
            _hits(rounds, scenario),
        ]
    out += ["### TTFT of a prefix and 64 tokens behind it, ms", _repeated(rounds)]
    return "\n\n".join(out)


_HEAD = [*ENGINES.values(), *(f"{ENGINES[mine]} : {ENGINES[peer]}" for mine, peer in RIVALS.items())]


def _row(name: str, value: Callable[[str], float | None], factor: float, more_is_better: bool) -> list[str]:
    """Figures of all engines, and how many times as good ours is as the peer that it is held against."""
    values = {engine: value(engine) for engine in ENGINES}
    shown = [figure(None if found is None else found * factor) for found in values.values()]
    return [name, *shown, *(_ratio(values[mine], values[peer], more_is_better) for mine, peer in RIVALS.items())]


def _ratio(mine: float | None, theirs: float | None, more_is_better: bool) -> str:
    if not mine or not theirs:
        return ""
    ratio = mine / theirs if more_is_better else theirs / mine
    return f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"


def _cell(rounds: Rounds, engine: str, scenario: str, at_once: int, metric: str) -> float | None:
    """The median over all rounds."""
    found = [one["cells"][str(at_once)][metric] for one in rounds.get(f"{engine} {scenario}", [])]
    known = [value for value in found if value is not None]
    return statistics.median(known) if known else None


def _hits(rounds: Rounds, scenario: str) -> str:
    rows: list[list[str]] = []
    for count in AT_ONCE:
        row = [str(count)]
        for engine in ENGINES:
            cached = _cell(rounds, engine, scenario, count, "cached_tokens")
            prompt = _cell(rounds, engine, scenario, count, "prompt_tokens")
            row.append("" if cached is None or not prompt else f"{cached / prompt:.0%}")
        rows.append(row)
    return table(["at once", *ENGINES.values()], rows)


def _repeated(rounds: Rounds) -> str:
    rows: list[list[str]] = []
    for tokens in REPEATED_TOKENS:
        for name, value in (("first", _first), ("again", _again), ("after a restart", _restarted)):
            title = f"{tokens // K}K, {name}"
            rows.append(_row(title, lambda e, v=value, t=tokens: _median(rounds, e, t, v), 1e3, more_is_better=False))
    return table(["prefix", *_HEAD], rows)


def _median(rounds: Rounds, engine: str, tokens: int, value: Callable[[dict[str, Any], str], float]) -> float | None:
    found = [value(one, str(tokens)) for one in rounds.get(f"{engine} repeated", [])]
    return statistics.median(found) if found else None


def _first(one: dict[str, Any], tokens: str) -> float:
    return one["cells"][tokens]["ttft_s"][0]


def _again(one: dict[str, Any], tokens: str) -> float:
    return statistics.median(one["cells"][tokens]["ttft_s"][1:])


def _restarted(one: dict[str, Any], tokens: str) -> float:
    """With what it took to restore the slot, where somebody had to ask for that."""
    return one["again"][tokens]["ttft_s"][0] + one["again"][tokens].get("restore_s", 0.0)


def _machine(rounds: Rounds) -> str:
    """Where it was measured, and how long each server took to start."""
    text = measured_on([one for found in rounds.values() for one in found])
    starts = {
        title: statistics.median(one["start_s"] for one in found)
        for engine, title in ENGINES.items()
        if (found := [one for key, list_ in rounds.items() if key.startswith(f"{engine} ") for one in list_])
    }
    text += "; start until healthy: " + ", ".join(f"{title} {seconds:.1f} s" for title, seconds in starts.items())
    return text + "."
