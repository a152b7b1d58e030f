"""Tables from what was measured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.kit.page import put, table

Results = dict[str, Any]
MIXES = ("mixed", "burst", "levers")


def write(readme: Path, results: Results) -> None:
    """Puts the tables into the README."""
    put(readme, tables(results))


def tables(results: Results) -> str:
    """All tables of what is there."""
    makers = {"mixed": _mixed, "endings": _endings, "kills": _kills, "fairness": _fairness, "folders": _folders}
    shown = [_machine(results)] if results else []
    shown += [make(results) for name, make in makers.items() if name in results]
    return "\n\n".join(shown)


def faults(results: Results) -> list[str]:
    """Everything that must not be, in words."""
    return [
        *(f"{name}: {fault}" for name in (*MIXES, "endings") for fault in results.get(name, {}).get("faults", ())),
        *(
            f"{name}: {fault}"
            for name in MIXES
            for fault in results.get(name, {}).get("dashboard", {}).get("failed", ())
        ),
        *(f"{name}: blocks are missing" for name in MIXES if name in results and _missing(results[name])),
        *(f"{name}: {wrong}" for name, load in _loads(results) for wrong in load["wrong"]),
        *(f"{name}: damaged records" for name, found in _verified(results) if found["damaged"]),
    ]


def _missing(found: Results) -> bool:
    return any(
        not row["idle"] or row["blocks_free"] != row["blocks_total"] or row["sequences"] for row in found["books"]
    )


def _loads(results: Results) -> Iterator[tuple[str, Results]]:
    """Everything that compared answers."""
    found = dict(results.get("folders", {}))
    if "kills" in results:
        yield "kill -9", results["kills"]
        yield "after them", results["kills"]["afterwards"]
    if not found:
        return
    for name in ("writer", "reader", "after"):
        yield f"two servers, {'a third for the first' if name == 'after' else name}", found["two servers"][name]
    yield "full disk", found["full disk"]["full"]
    yield "full disk, restarted", found["full disk"]["restarted"]
    for name, load in found["damage"].items():
        if name != "verified":
            yield f"damage: {name}", load
    yield "damage under a running server", found["damage while running"]


def _verified(results: Results) -> Iterator[tuple[str, Results]]:
    for one in results.get("kills", {}).get("verified", ()):
        yield "kill -9", one
    for name in ("two servers", "full disk", "damage"):
        if "folders" in results:
            yield name, results["folders"][name]["verified"]


def _machine(results: Results) -> str:
    dates = sorted({part["date"] for part in results.values()})
    machines = sorted({part["machine"] for part in results.values()})
    return f"{', '.join(machines)}; {' to '.join(dates[:: max(1, len(dates) - 1)])}. Faults: {len(faults(results))}."


def _mixed(results: Results) -> str:
    parts = {name: results[name] for name in MIXES if name in results}
    rows: list[list[str]] = []

    def row(name: str, cell: Any) -> None:
        rows.append([name, *(str(cell(part)) for part in parts.values())])

    row("requests", lambda part: f"{part['requests']:,}")
    for kind in ("tokens", "typed error", "client left", "fault", "not taken"):
        row(f"ended in: {kind}", lambda part, kind=kind: f"{part['ended'].get(kind, 0):,}")
    row("preemptions", lambda part: f"{part['preemptions']:,}")
    row("steps that failed", lambda part: part["failed_steps"])
    row("blocks free of all, idle, prefixes let go", lambda part: _blocks(part["books"][-1]))
    row("dashboard reads, failed", lambda part: f"{part['dashboard']['reads']:,}, {len(part['dashboard']['failed'])}")
    row("rude connections", lambda part: part["dashboard"]["rude_connections"])
    row("memory after each round, MiB", _memory)
    row("memory in the later half, MiB per 1,000 requests", lambda part: f"{part['rss_mib_per_1000_requests']:+.2f}")
    row("mean step, s", lambda part: f"{part['mean_step_s']:.3f}")
    row("TTFT of short requests, median, s", lambda part: f"{part['short_ttft_s']['p50']:.2f}")
    row("TTFT of short requests, p99, s", lambda part: f"{part['short_ttft_s']['p99']:.2f}")
    head = "### Mixed requests\n\n" + table(["", *parts], rows)
    first = parts.get("mixed")
    if first is None or first["quiet_step_s"] is None:
        return head
    p99, step = first["short_ttft_s"]["p99"], first["quiet_step_s"]
    alone = first["short_alone_ttft_s"]
    return (
        f"{head}\n\nAlone, a short request has its first token after {alone:.3f} s; a step that reads 2,048 "
        f"tokens of one prompt takes {step:.3f} s. The p99 of the mix is {p99 / step:.1f} such steps."
    )


def _blocks(books: Results) -> str:
    return f"{books['blocks_free']:,} of {books['blocks_total']:,}"


def _memory(part: Results) -> str:
    return " ".join(f"{books['rss_mib']:.0f}" for books in part["books"])


def _endings(results: Results) -> str:
    part = results["endings"]
    ended = ", ".join(f"{count} {kind}" for kind, count in part["ended"].items())
    return (
        f"### SIGTERM under load\n\n{part['rounds']} rounds, {part['requests']} requests: {ended}; of the errors "
        f"{part['codes'].get('shutting_down', 0)} say `shutting_down`. The slowest process was gone "
        f"{part['slowest_end_s']:.1f} s after its last answer."
    )


def _kills(results: Results) -> str:
    part = results["kills"]
    rows = [_load_row(name, load) for name, load in _loads(results)]
    skipped = sum(one["skipped_bytes"] for one in part["verified"])
    damaged = sum(one["damaged"] for one in part["verified"])
    head = ["answers", "right", "near ties", "broken off", "wrong", "device", "host", "disk"]
    return (
        f"### Kills and folders\n\n{table(head, rows)}\n\nCached tokens by tier on the right. {part['rounds']} rounds "
        f"of kill -9; in {part['rounds_with_reuse_from_disk']} of the {part['rounds'] - 1} after the first, prefixes "
        f"came back from disk. `windowtax cache verify` after every second one: {damaged} damaged records, {skipped:,} "
        f"B of records cut off by a kill."
    )


def _load_row(name: str, load: Results) -> list[str]:
    answers, tiers = load["answers"], load["cached_tokens"]
    counts = [answers.get(kind, 0) for kind in ("right", "near tie", "broken off", "wrong")]
    return [name, *(f"{count:,}" for count in (*counts, tiers["device"], tiers["host"], tiers["disk"]))]


def _fairness(results: Results) -> str:
    rows: list[list[str]] = []
    for ours, fifo in zip(results["fairness"]["shares"], results["fairness"]["fifo"], strict=True):
        rows.append([str(ours["long_prompts"]), *_fair_cells(ours), *_fair_cells(fifo)])
    head = [
        "long prompts before it",
        "TTFT, s",
        "max, s",
        "step, s",
        "in steps",
        "median long TTFT, s",
        "last long TTFT, s",
    ]
    return "### A short request behind full windows\n\n" + table([*head, *(f"fifo: {name}" for name in head[1:])], rows)


def _fair_cells(one: Results) -> list[str]:
    long = [one["long_ttft_s"], one["long_ttft_s_max"]]
    return [
        f"{one['short_ttft_s']:.2f}", f"{one['short_ttft_s_max']:.2f}", f"{one['step_s']:.3f}",
        f"{one['steps_to_first_token']:.1f}", *("" if seconds is None else f"{seconds:.1f}" for seconds in long),
    ]  # fmt: skip


def _folders(results: Results) -> str:
    part = results["folders"]
    full = part["full disk"]
    return (
        f"The full disk was a {full['kind']} of {full['bytes'] / 2**20:.0f} MiB. Damaged records that `verify` found "
        f"in the end: {sum(found['damaged'] for _, found in _verified(results))}."
    )
