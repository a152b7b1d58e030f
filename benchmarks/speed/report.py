"""The tables of the README, written from results.json: ours, the peers', the ratio, the floor, the prediction."""

import datetime
import statistics
from pathlib import Path
from typing import Any

from bounds import Bounds
from cells import Job, Row

from windowtax.base.units import format_rate

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
ENGINES = {"llama": "llama.cpp", "hf": "transformers", "vllm": "vLLM-CPU"}
COARSE = ("llama",)
"""Peers that read the GGUF's own bits; held against ours with --weights stored, the others against --weights full."""
_MIB = 2**20
Found = dict[str, list[dict[str, Any]]]


def value(row: Row, job: Job, results: Found) -> float | None:
    """The row's figure of one job: tokens/s, s or bytes; the median of all runs. None where nothing was measured."""
    samples: list[float] = []
    for run in results.get(job.key, []):
        if row.metric == "memory":
            samples.append(run["peak_bytes"])
        elif row.metric == "start":
            samples.append(run["first_token"] - run["began"])
        else:
            samples += counted(row.metric, run["contexts"][str(row.context)] if job.contexts else run)
    if not samples:
        return None
    middle = statistics.median(samples)
    if row.metric in ("memory", "start"):
        return middle
    return _tokens(row) / middle


def counted(metric: str, run: dict[str, Any]) -> list[float]:
    """The run's samples, s. Of decode the second half: it takes a shared cache some twenty steps until it holds what it
    can of weights and cache, and answers are longer."""
    samples: list[float] = run[f"{metric}_s"]
    return samples[len(samples) // 2 :] if metric == "decode" else samples


def ratio(row: Row, results: Found) -> tuple[float, str] | None:
    """How many times as good as the best peer ours is, with weights no coarser than that peer's; and which that is."""
    better = max if row.metric in ("prefill", "decode") else min
    peers = {engine: found for engine, job in row.peers.items() if (found := value(row, job, results)) is not None}
    if not peers:
        return None
    best = better(peers, key=lambda engine: peers[engine])
    weights = "stored" if best in COARSE else "full"
    job = row.ours.get(weights)
    mine = None if job is None else value(row, job, results)
    if mine is None:
        return None
    return (mine / peers[best] if better is max else peers[best] / mine), best


def one_line(job: Job, run: dict[str, Any]) -> str:
    """A result in a few words, while the run goes on."""
    parts = run["contexts"] if job.contexts else {str(job.context): run}
    words = []
    for context, part in parts.items():
        prefill, decode = (statistics.median(counted(what, part)) for what in ("prefill", "decode"))
        what = (
            f"prefill {job.fill * (job.batch if job.engine == 'ours' else 1) / prefill:,.0f}/s, "
            if job.fill == job.context and not job.contexts
            else ""
        )
        if job.contexts:
            what = f"{int(context):,}: prefill {int(context) * job.batch / prefill:,.0f}/s, "
        words.append(f"{what}decode {job.batch / decode:,.1f}/s")
    gauge = run["gauge"]
    shown = (
        f"; gauge {gauge['read_bytes_per_s'] / 1e9:.0f} GB/s {gauge['bf16_flops_per_s'] / 1e12:.1f} TFLOP/s"
        if gauge
        else ""
    )
    return f"{'; '.join(words)}{shown}; load {run['load']:.1f}, others {run['others_percent']:.0f}%"


def write(readme: Path, rows: list[Row], results: Found) -> None:
    """Puts the tables between the README's two markers."""
    text = readme.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(f"{head}{BEGIN}\n\n{tables(rows, results)}\n{END}{tail}", encoding="utf-8")


def tables(rows: list[Row], results: Found) -> str:
    """All tables, one per section."""
    bounds = Bounds()
    out = [_machine(results, bounds)]
    by_name = {row.name: row for row in rows}
    for section in dict.fromkeys(row.section for row in rows):
        chosen = [row for row in rows if row.section == section and _measured(row, results)]
        if chosen:
            out += ["", f"### {section}, {_unit(chosen[0])}", "", _table(chosen, by_name, results, bounds)]
    return "\n".join(out) + "\n"


def _measured(row: Row, results: Found) -> bool:
    return any(job.key in results for job in row.ours.values())


def _unit(row: Row) -> str:
    return {"memory": "MiB", "start": "s"}.get(row.metric, "tokens/s")


def _table(rows: list[Row], by_name: dict[str, Row], results: Found, bounds: Bounds) -> str:
    timed = rows[0].metric in ("prefill", "decode")
    engines = [engine for engine in ENGINES if any(engine in row.peers for row in rows)]
    head = ["cell", "ours, stored", "ours, full", *(ENGINES[engine] for engine in engines)]
    head += ["to the best peer", "goal"] if engines else []
    head += ["to our dense bf16", "goal"] if any(row.against for row in rows) else []
    head += ["floor", "of the floor", "predicted", "error"] if timed else []
    head += ["planned"] if rows[0].metric == "memory" else []
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for row in rows:
        cells = [row.name, *(_show(row, row.ours.get(weights), results) for weights in ("stored", "full"))]
        cells += [_show(row, row.peers.get(engine), results) for engine in engines]
        cells += _ratio_cells(row, results) if engines else []
        cells += _against_cells(row, by_name, results) if any(row.against for row in rows) else []
        cells += _bound_cells(row, results, bounds) if timed else []
        cells += [_planned(row, results)] if row.metric == "memory" else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _show(row: Row, job: Job | None, results: Found) -> str:
    found = None if job is None else value(row, job, results)
    return "" if found is None else _figure(row, found)


def _figure(row: Row, found: float) -> str:
    if row.metric == "memory":
        return f"{found / _MIB:,.0f}"
    return f"{found:.2f}" if row.metric == "start" else f"{found:,.0f}" if found >= 100 else f"{found:,.1f}"


def _ratio_cells(row: Row, results: Found) -> list[str]:
    found = ratio(row, results)
    goal = "" if row.goal is None else f">= {row.goal:g}"
    if found is None:
        return ["", goal]
    met = "" if row.goal is None else " (met)" if found[0] >= row.goal else " (**not met**)"
    return [f"{found[0]:.2f} x {ENGINES[found[1]]}{met}", goal]


def _against_cells(row: Row, by_name: dict[str, Row], results: Found) -> list[str]:
    if row.against is None or row.against not in by_name or row.against_goal is None:
        return ["", ""]
    other = by_name[row.against]
    mine, base = value(row, row.ours["stored"], results), value(other, other.ours["stored"], results)
    goal = f">= {row.against_goal:g}"
    if mine is None or base is None:
        return ["", goal]
    met = "met" if mine / base >= row.against_goal else "**not met**"
    return [f"{mine / base:.2f} ({met})", goal]


def _bound_cells(row: Row, results: Found, bounds: Bounds) -> list[str]:
    """Of ours with the weights as they are stored: the floor and the share reached, the prediction and its error."""
    job = row.ours.get("stored")
    mine = None if job is None else value(row, job, results)
    if job is None or mine is None or job.neighbour:
        return [""] * 4
    floor, predicted = bounds.of(row.metric, job)
    rates = [_tokens(row) / seconds for seconds in (floor, predicted)]
    return [_figure(row, rates[0]), f"{mine / rates[0]:.0%}", _figure(row, rates[1]), f"{mine / rates[1] - 1:+.0%}"]


def _tokens(row: Row) -> int:
    """Tokens that the row's seconds are of."""
    return row.batch * (row.context if row.metric == "prefill" else 1)


def _planned(row: Row, results: Found) -> str:
    """Interpreter and libraries, weights and cache of ours with stored weights, in MiB."""
    runs = results.get(row.ours["stored"].key, [])
    return f"{runs[-1]['planned_bytes'] / _MIB:,.0f}" if runs else ""


def _machine(results: Found, bounds: Bounds) -> str:
    """The machine, and what the gauge beside the cells saw of it."""
    runs = [run for found in results.values() for run in found]
    gauges = [run["gauge"] for run in runs if run["gauge"]]
    loads = [run["load"] for run in runs]
    days = sorted({datetime.date.fromtimestamp(run["began"]).isoformat() for run in runs})
    text = f"{bounds.machine.title}, {' to '.join(dict.fromkeys(days[:1] + days[-1:]))}; {len(runs)} child processes"
    if loads:
        text += f", load average {min(loads):.1f} to {max(loads):.1f} (our own threads count)"
    for key, unit in (("read_bytes_per_s", "B/s"), ("bf16_flops_per_s", "FLOP/s"), ("fp32_flops_per_s", "FLOP/s")):
        rates = sorted(gauge[key] for gauge in gauges)
        if rates:
            name = key.split("_")[0]
            middle = format_rate(statistics.median(rates), unit)
            text += f"; gauge {name} {middle} ({format_rate(rates[0], unit)} to {format_rate(rates[-1], unit)}"
            known = bounds.gauge.get(key)
            text += ")" if known is None else f"; {format_rate(known, unit)} while predictions were calibrated)"
    return text + "."
