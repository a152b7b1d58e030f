"""How a replay looks in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from windowtax.base.units import format_bytes, format_seconds, format_usd
from windowtax.cli.columns import columns
from windowtax.plan.replay.report import ReplayReport, ReplaySummary, shares_text
from windowtax.plan.replay.slo import HOURS_PER_MONTH
from windowtax.plan.replay.statistics import Distribution
from windowtax.plan.sweep import bar

_BAR_WIDTH = 24


def print_report(console: Console, report: ReplayReport) -> None:
    """The trace, hit rates by cache size, what the objective takes, and the exact replay."""
    _print_trace(console, report)
    _print_hits(console, report)
    if report.answers:
        _print_answers(console, report)
    if report.summary is not None:
        _print_summary(console, report, report.summary)
    if report.notes:
        _heading(console, "Note")
        for note in report.notes:
            console.print(Padding(Text(note), (0, 0, 0, 2)))


def _print_trace(console: Console, report: ReplayReport) -> None:
    statistics, trace = report.statistics, report.trace
    console.print(
        Text(
            f"{trace.name}: {statistics.num_requests:,} requests, {report.spec.name} on {report.hardware.title}", "bold"
        )
    )
    _heading(console, f"Trace ({trace.format}, as recorded)")
    rate = f"{statistics.requests_per_s:,.3g}/s over {format_seconds(statistics.duration_s)}"
    _rows(console, [("requests", f"{statistics.num_requests:,}", rate)])
    fullest = f"{statistics.busiest_minute_requests:,}"
    _rows(console, [("busiest minute", fullest, "requests")])
    repeated = statistics.repeated_tokens / trace.num_prompt_tokens
    tokens = f"prompt tokens in blocks of {trace.block_tokens} that an earlier prompt had"
    _rows(console, [("repeated", f"{repeated:.1%}", tokens)])
    lines: list[tuple[str, ...]] = [("tokens", "mean", "p50", "p90", "p99", "most")]
    for name, one in (("prompt", statistics.prompt), ("output", statistics.output)):
        lines.append((name, *(f"{value:,.0f}" for value in (one.mean, one.p50, one.p90, one.p99, one.largest))))
    _table(console, lines)


def _print_hits(console: Console, report: ReplayReport) -> None:
    hits = report.hits
    _heading(console, f"Prompt tokens found, by size of one cache that sees all requests ({hits.policy}, derived)")
    lines = [("cache", "blocks", "found", "")]
    for point in hits.points:
        rate = hits.rate(point.found_tokens)
        lines.append((format_bytes(point.num_bytes), f"{point.num_blocks:,}", f"{rate:.1%}", bar(rate, 1, _BAR_WIDTH)))
    endless = hits.rate(hits.endless_tokens)
    lines.append(("endless", f"{report.trace.num_keys:,}", f"{endless:.1%}", bar(endless, 1, _BAR_WIDTH)))
    _table(console, lines, left={3})
    whole = f"all blocks of the trace take {format_bytes(hits.footprint_bytes)}, one {format_bytes(hits.block_bytes)}"
    console.print(Padding(Text(whole, style="dim"), (0, 0, 0, 2)))
    if report.tiers:
        lines = [("tier of a replica", "size", "found by it or faster ones")]
        for one in report.tiers:
            lines.append((one.name, format_bytes(one.num_bytes), f"{hits.rate(one.found_tokens):.1%}"))
        _table(console, lines)


def _print_answers(console: Console, report: ReplayReport) -> None:
    _heading(console, f"{report.slo}: the fewest replicas (derived)")
    lines: list[tuple[str, ...]] = [
        ("GPUs per replica", "replicas", "GPUs", "in time", f"a month ({HOURS_PER_MONTH} h)")
    ]
    price = report.hardware.usd_per_hour
    for answer in report.answers:
        chosen = " *" if answer.replica is report.replica else ""
        if answer.accelerators is None:
            line = ("not met", "-", f"{shares_text(answer.attained)} alone", "-")
        else:
            month = format_usd(price.value * answer.accelerators * HOURS_PER_MONTH) if price else "no price known"
            line = (f"{answer.replicas:,}", f"{answer.accelerators:,}", shares_text(answer.attained), month)
        lines.append((f"{answer.replica.accelerators}{chosen}", *line))
    _table(console, lines, left=set())
    text = f"searched over the busiest {report.searched_requests:,} requests; arrivals are dealt out round robin"
    console.print(Padding(Text(text, style="dim"), (0, 0, 0, 2)))


def _print_summary(console: Console, report: ReplayReport, summary: ReplaySummary) -> None:
    gpus = summary.replicas * report.replica.accelerators
    copies = f"{summary.replicas:,} replica{'s' if summary.replicas > 1 else ''} of {report.replica.accelerators}"
    _heading(console, f"All {summary.num_requests:,} requests on {gpus:,} GPUs, {copies} (derived)")
    lines: list[tuple[str, ...]] = [("", "mean", "p50", "p90", "p99", "most")]
    for name, one in (("TTFT", summary.ttft), ("TPOT", summary.tpot), ("whole call", summary.call)):
        if one is not None:
            lines.append((name, *_times(one)))
    _table(console, lines)
    found = summary.cached_tokens / summary.prompt_tokens if summary.prompt_tokens else 0.0
    tiers = ", ".join(f"{name} {tokens:,}" for name, tokens in summary.found_tokens)
    rows = [
        *(
            ("in time", f"{share:.1%}", f"of all requests; asked for: {objective}")
            for objective, share in zip(report.slo.objectives, summary.attained, strict=True)
        ),
        ("prompt tokens found", f"{found:.1%}", f"{summary.cached_tokens:,} ({tiers})" if tiers else "no prefix cache"),
        ("preemptions", f"{summary.preemptions:,}", _preempted(summary)),
        ("busy", f"{summary.busy:.1%}", f"of the time, {summary.running:,.1f} sequences at once while busy"),
        ("pool held", f"{summary.held:.1%}", f"of {format_bytes(report.replica.pool_bytes)} per replica, while busy"),
        ("steps", f"{summary.steps:,}", f"{summary.scheduled_tokens:,} tokens computed"),
    ]
    if summary.refused:
        rows.append(("refused", f"{len(summary.refused):,}", "requests that never fit"))
    if report.usd_per_hour is not None and report.usd_per_month is not None:
        hour = f"{format_usd(report.usd_per_hour)}/h, {HOURS_PER_MONTH} h"
        rows.append(("a month", format_usd(report.usd_per_month), hour))
    _rows(console, rows)


def _preempted(summary: ReplaySummary) -> str:
    moved = f"; {summary.moves:,} times the blocks waited in host memory" if summary.moves else ""
    return f"of {summary.preempted_requests:,} requests{moved}"


def _times(one: Distribution) -> tuple[str, ...]:
    return tuple(format_seconds(value) for value in (one.mean, one.p50, one.p90, one.p99, one.largest))


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold cyan"))


def _rows(console: Console, rows: Sequence[tuple[str, str, str]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 1))
    table.add_column(width=20, no_wrap=True)
    table.add_column(width=12, no_wrap=True, justify="right")
    table.add_column()
    for label, value, note in rows:
        table.add_row(Text(label), Text(value, style="bold"), Text(note))
    console.print(table)


def _table(console: Console, lines: Sequence[tuple[str, ...]], left: set[int] | None = None) -> None:
    """The first line is the heading; columns but the first are set right, except those in `left`."""
    words = {0} if left is None else {0, *left} if left else set[int]()
    right = [index for index in range(len(lines[0])) if index not in words]
    console.print(columns(console, lines, right=right, indent=2))
