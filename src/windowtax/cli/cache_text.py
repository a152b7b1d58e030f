"""How kept prefixes look in a terminal, and as JSON."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from windowtax.base.errors import WindowtaxError
from windowtax.base.units import format_bytes, format_exact_bytes, format_seconds, format_usd
from windowtax.cli import price_text as text
from windowtax.cli.cache_costs import Cost, Costs
from windowtax.cli.columns import columns
from windowtax.engine.kept import KeptPrefixes, Run, words_of

NAME_DIGITS = 8
_TOKENS_READ = 64

Row = dict[str, Any]


def rows(kept: KeptPrefixes, runs: Iterable[Run], hardware: str, words: int = 48) -> list[Row]:
    """One row a run: what it is, and what it is worth."""
    costs = _Costs(kept, hardware)
    found: list[Row] = []
    for run in runs:
        ids = kept.token_ids(run, max(_TOKENS_READ, words // 2))
        found.append(
            {
                "name": run.key,
                "continues": run.before.key if run.before else None,
                "level": len(run.path) - 1,
                "model": kept.form_of(run).get("model"),
                "first_token": run.first_token,
                "tokens": run.num_tokens,
                "blocks": len(run.entries),
                "bytes": run.num_bytes,
                "hits": run.hits,
                "last_used": datetime.fromtimestamp(run.last_used_s, UTC).isoformat(timespec="seconds"),
                "pinned": run.pinned,
                "words": words_of(ids, _decoder(kept.form_of(run).get("source")), words),
                **asdict(costs.of(run, run.first_token, run.num_tokens, run.num_bytes)),
                "cost_unknown": costs.why(run),
            }
        )
    return found


def whole(kept: KeptPrefixes, run: Run, hardware: str) -> Row:
    """The whole prefix that ends with a run."""
    tokens = run.first_token + run.num_tokens
    num_bytes = sum(one.num_bytes for one in run.path)
    costs = _Costs(kept, hardware)
    cost = costs.of(run, 0, tokens, num_bytes)
    return {"name": run.key, "tokens": tokens, "bytes": num_bytes, **asdict(cost), "cost_unknown": costs.why(run)}


def listing(kept: KeptPrefixes, found: Sequence[Row]) -> Row:
    """All that `ls --json` prints."""
    return {
        "folder": str(kept.tier.folder.path),
        "bytes": kept.file_bytes,
        "unreachable_records": len(kept.unreachable),
        "damaged_bytes": kept.counters.damaged_bytes,
        "runs": list(found),
    }


def show_listing(out: Console, kept: KeptPrefixes, found: Sequence[Row], count: int) -> None:
    text.heading(out, f"{kept.tier.folder.path}: {format_exact_bytes(kept.file_bytes)} in segment files")
    if not found:
        text.notes(out, ["No prefix is kept."])
        return
    head = ("", "tokens", "size", "hits", "last used", "again", "keep/month", "begins")
    out.print(columns(out, [head, *(_line(row) for row in found)], right=range(1, len(head) - 1), indent=2))
    left = [f"{count - len(found):,} more; -n 0 shows all"] if count > len(found) else []
    gone = [f"{len(kept.unreachable):,} blocks lost their beginning; `windowtax cache gc`"] if kept.unreachable else []
    text.notes(out, ["", "*: pinned; indented: continues the one above"])
    text.notes(out, [*left, *gone])
    _show_how(out, found)


def show_prefix(out: Console, kept: KeptPrefixes, run: Run, found: Sequence[Row], one: Row) -> None:
    text.heading(out, f"{run.key}: {one['tokens']:,} tokens, {format_exact_bytes(one['bytes'])}")
    form = kept.form_of(run)
    text.notes(out, [f"{name}: {value}" for name, value in form.items()])
    compute = "-" if one["recompute_s"] is None else format_seconds(one["recompute_s"])
    usd = "" if one["recompute_usd"] is None else f" = {format_usd(one['recompute_usd'])}"
    keep = "" if one["keep_hours"] is None else f", so it pays if used again within {text.hours(one['keep_hours'])}"
    text.notes(out, [f"computing it again: {compute}{usd} (derived)"])
    text.notes(out, [f"keeping it: {format_usd(one['hold_usd_per_month'])} a month (assumed rent){keep}"])
    for row in found:
        last = row["first_token"] + row["tokens"]
        text.section(
            out, f"tokens {row['first_token']:,} to {last - 1:,}, hits: {row['hits']:,}, last used {_ago(row)}"
        )
        text.notes(out, [row["words"]])
    _show_how(out, [one])


def show_verified(out: Console, found: Row) -> None:
    speed = found["bytes_read"] / found["seconds"] / 1e9 if found["seconds"] else 0.0
    text.heading(
        out, f"{found['records']:,} blocks, {format_bytes(found['bytes_read'])} read at {speed:.2f} GB/s (measured)"
    )
    damaged = len(found["damaged"])
    text.notes(
        out,
        [
            f"{damaged:,} damaged{': taken out, and computed again when asked for' if found['removed'] else ''}",
            f"{format_bytes(found['skipped_bytes'])} between blocks could not be read as one",
            f"{found['unreachable_records']:,} blocks have lost their beginning; `windowtax cache gc` takes them out",
        ],
    )


class _Costs:
    """Costs of runs of several models."""

    def __init__(self, kept: KeptPrefixes, hardware: str) -> None:
        self._kept = kept
        self._hardware = hardware
        self._by_fingerprint: dict[bytes, Costs] = {}

    def of(self, run: Run, first_token: int, num_tokens: int, num_bytes: int) -> Cost:
        return self._costs(run).of(first_token, num_tokens, num_bytes)

    def why(self, run: Run) -> str | None:
        return self._costs(run).why_unknown

    def _costs(self, run: Run) -> Costs:
        fingerprint = run.entries[0].fingerprint
        if fingerprint not in self._by_fingerprint:
            self._by_fingerprint[fingerprint] = Costs(self._kept.form_of(run), self._hardware)
        return self._by_fingerprint[fingerprint]


@cache
def _decoder(source: str | None) -> Callable[[Sequence[int]], str] | None:
    """Of the model's own tokenizer; None where it is not at hand."""
    if source is None:
        return None
    try:
        from windowtax.engine.tokenizer import load_tokenizer

        return load_tokenizer(Path(source)).decode
    except (WindowtaxError, ImportError, OSError):
        return None


def _line(row: Row) -> tuple[str, ...]:
    name = "  " * row["level"] + row["name"][:NAME_DIGITS] + ("*" if row["pinned"] else "")
    tokens = f"{row['first_token']:,}+{row['tokens']:,}" if row["first_token"] else f"{row['tokens']:,}"
    again = "-" if row["recompute_s"] is None else format_seconds(row["recompute_s"])
    keep = format_usd(row["hold_usd_per_month"])
    return name, tokens, format_bytes(row["bytes"]), f"{row['hits']:,}", _ago(row), again, keep, row["words"]


def _ago(row: Row) -> str:
    seconds = max(0.0, time.time() - datetime.fromisoformat(row["last_used"]).timestamp())
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return "just now"


def _show_how(out: Console, found: Sequence[Row]) -> None:
    unknown = sorted({row["cost_unknown"] for row in found if row["cost_unknown"]})
    text.formula(
        out,
        [
            "again: computing it again, the plan's time for a prefill behind the tokens before it (derived)",
            "keep: bytes x the rent of an SSD in catalog/prices/memory-tiers.toml (assumed)",
            *(f"again is not known: {why}" for why in unknown),
        ],
    )
