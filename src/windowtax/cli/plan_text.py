"""How plans look in a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from windowtax.base.units import format_bytes, format_seconds, format_tokens, format_usd
from windowtax.cli.columns import columns
from windowtax.plan.explain import derivation
from windowtax.plan.plan import Plan
from windowtax.plan.report import Section, choices_table, headline, sections
from windowtax.plan.steps import Step
from windowtax.plan.sweep import bar

if TYPE_CHECKING:
    from windowtax.plan.api_side import ApiSide

_WARNING_WIDTH_MARGIN = 2
_BASIS_WIDTH = 9
_SHORTEST_BAR, _LONGEST_BAR = 6, 30


def print_plan(console: Console, plan: Plan, api: "ApiSide | None" = None) -> None:
    """The whole plan: a heading, its sections, the table of rank counts, and what must be known before using it."""
    console.print(Text(headline(plan), style="bold"))
    found = (*sections(plan), *_api_sections(api))
    rows = [row for section in found for row in section.rows]
    widths = max(len(row.label) for row in rows), max(len(row.value) for row in rows)
    for section in found:
        console.print(_section_table(section, widths))
    if len(plan.choices) > 1:
        console.print(_heading("Ranks per group (* is the one taken)"))
        lines = choices_table(plan)
        console.print(columns(console, lines, right=range(len(lines[0])), indent=2))
    _print_warnings(console, [plan], api)


def _api_sections(api: "ApiSide | None") -> tuple[Section, ...]:
    if api is None:
        return ()
    from windowtax.plan.api_report import api_section

    return (api_section(api),)


def _heading(title: str) -> Text:
    return Text(f"\n{title}", style="bold cyan")


def _section_table(section: Section, widths: tuple[int, int]) -> Table:
    """Rows of a section. widths: of the labels and of the figures, the same in all sections."""
    table = Table(
        box=None,
        show_header=False,
        expand=True,
        padding=(0, 1, 0, 1),
        title=_heading(section.title),
        title_justify="left",
    )
    table.add_column(width=widths[0], no_wrap=True)
    table.add_column(width=widths[1], no_wrap=True, justify="right")
    table.add_column(ratio=1, overflow="fold")
    table.add_column(width=_BASIS_WIDTH, style="dim")
    for row in section.rows:
        table.add_row(Text(row.label), Text(row.value, style="bold"), Text(row.note), Text(row.basis))
    return table


def _print_warnings(console: Console, plans: Sequence[Plan], api: "ApiSide | None" = None) -> None:
    several = len({plan.spec.name for plan in plans}) > 1
    said = [f"{plan.spec.name}: {text}" if several else text for plan in plans for text in plan.warnings]
    said += [f"{api.name}: {text}" for text in api.notes] if api else []
    found = list(dict.fromkeys(said))
    if found:
        console.print(_heading("Note"))
    for warning in found:
        console.print(Padding(Text(warning), (0, 0, 0, _WARNING_WIDTH_MARGIN)))


def print_derivation(console: Console, plan: Plan, api: "ApiSide | None" = None) -> None:
    """Every step: the formula, the numbers put in, the result, and where it comes from."""
    console.print(Text(headline(plan), style="bold"))
    for step in (*derivation(plan), *_api_steps(api)):
        line = Text("\n")
        line.append(step.name, style="bold cyan")
        line.append(" = ")
        line.append(step.result, style="bold")
        line.append(f"   [{step.basis}]", style="dim")
        console.print(line)
        for part in (step.formula and f"= {step.formula}", step.numbers and f"= {step.numbers}"):
            if part:
                console.print(Padding(Text(part), (0, 0, 0, 4)))
        if step.source:
            console.print(Padding(Text(step.source, style="dim"), (0, 0, 0, 4)))
    _print_warnings(console, [plan], api)


def _api_steps(api: "ApiSide | None") -> tuple[Step, ...]:
    if api is None:
        return ()
    from windowtax.plan.api_report import api_steps

    return api_steps(api)


def print_comparison(console: Console, plans: Sequence[Plan]) -> None:
    """Plans side by side, one column each; all figures derived from the configs and the named hardware."""
    first = plans[0]
    caches = {plan.dtype.name for plan in plans}
    kept = f"cache {first.dtype.name}" if len(caches) == 1 else "cache as each checkpoint says"
    console.print(
        Text(
            f"{format_tokens(first.workload.context_tokens)} tokens of context, {first.workload.users:,} "
            f"user{'s' if first.workload.users > 1 else ''}, {first.hardware.title}, {kept}",
            style="bold",
        )
    )
    found = [_comparison_column(plan) for plan in plans]
    lines = [(label, *(column[label] for column in found)) for label in found[0]]
    console.print(columns(console, lines))
    console.print()
    console.print(Text(_COMPARISON_LEGEND, style="dim"))
    _print_warnings(console, plans)


_COMPARISON_LEGEND = (
    "All derived from the configs and the hardware's figures; `windowtax plan MODEL` shows the basis of each, "
    "--explain its formula."
)


def _comparison_column(plan: Plan) -> dict[str, str]:
    times, costs, fit, layout = plan.times, plan.costs, plan.fit, plan.layout
    total = layout.bytes_for(plan.workload.context_tokens)
    longest = fit.budget.longest_context_tokens
    return {
        "": plan.spec.name,
        "parameters": f"{plan.spec.total_parameters / 1e9:,.2f} B",
        "active per token": f"{plan.spec.active_parameters / 1e9:,.2f} B",
        "window claimed": f"{plan.spec.max_context_tokens:,}",
        "weights": f"{format_bytes(plan.weights.resident)} {plan.scheme.name}",
        "cache per further token": f"{layout.growth_bytes_per_token:,} B {plan.dtype.name}",
        "cache of windows": format_bytes(layout.window_bytes) if layout.window_bytes else "-",
        "cache of one user": format_bytes(total),
        "the same, bytes": f"{total:,}",
        "accelerators": f"{fit.deployment.accelerators:,}" + ("" if fit.fits else " do not hold it"),
        "most users": f"{fit.most_users:,}",
        "longest context": "unbounded" if longest is None else f"{longest:,}",
        "TTFT, alone": format_seconds(times.ttft.overlap_s) if times else "-",
        "TPOT": format_seconds(times.tpot.overlap_s) if times else "-",
        "reads of it: cache": f"{times.cache_share:.0%}" if times else "-",
        "all accelerators": f"{format_usd(costs.usd_per_hour)}/h" if costs else "-",
        "holding one window": f"{format_usd(costs.usd_per_user_hour)}/h" if costs else "-",
        "one call": format_usd(costs.bill.total_usd) if costs else "-",
        **({"promise": _promise(plan)} if plan.slo else {}),
    }


def _promise(plan: Plan) -> str:
    most = plan.promise.users_per_replica if plan.promise else 0
    return f"up to {most:,} user{'s' if most > 1 else ''}" if most else "not kept"


def print_sweep(console: Console, plans: Sequence[Plan]) -> None:
    """The sweep as aligned bars, in proportion: the longest bar of a column is its largest figure."""
    first = plans[0]
    users = f"{first.workload.users:,} user{'s' if first.workload.users > 1 else ''}"
    title = (
        f"{first.spec.name} on {first.hardware.title}, {users}, cache {first.dtype.name}, weights {first.scheme.name}"
    )
    console.print(Text(title, style="bold"))
    console.print(_sweep_table(plans, console.width))
    legend = (
        "x: accelerators. cache: of one user. TTFT alone; TPOT of all users together, windows full. window/h: dollars "
        "to hold one window for an hour beside as many as fit. call: dollars while the machines are busy. All derived; "
        "`windowtax plan` shows the basis of each figure."
    )
    console.print(Text(legend, style="dim"))
    console.print()
    _print_sweep_warning(console, plans)


def _sweep_table(plans: Sequence[Plan], width: int) -> Table:
    """One line per context, bars behind cache and TTFT as far as the width has room for them."""
    caches = [float(plan.layout.bytes_for(plan.workload.context_tokens)) for plan in plans]
    ttfts = [plan.times.ttft.overlap_s if plan.times else 0.0 for plan in plans]
    names = ("context", "x", "cache", "TTFT", "TPOT", "window/h", "call", *(("promise",) if plans[0].slo else ()))
    lines = [_sweep_line(plan) for plan in plans]
    text_width = sum(max(map(len, column)) + 1 for column in zip(names, *lines, strict=True))
    bars = {"cache": (caches, "cyan"), "TTFT": (ttfts, "magenta")}
    room = (width - text_width) // len(bars) - 1
    if room < _SHORTEST_BAR:
        del bars["TTFT"]
        room = width - text_width - 1
    if room < _SHORTEST_BAR:
        bars.clear()
    room = min(room, _LONGEST_BAR)
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(Text(name, style="dim"), justify="right", no_wrap=True)
        if name in bars:
            table.add_column("", width=room, no_wrap=True)
    for index, line in enumerate(lines):
        cells: list[Text] = []
        for name, cell in zip(names, line, strict=True):
            cells.append(Text(cell))
            if name in bars:
                values, colour = bars[name]
                cells.append(Text(bar(values[index], max(values), room), style=colour))
        table.add_row(*cells)
    return table


def _sweep_line(plan: Plan) -> tuple[str, ...]:
    times, costs = plan.times, plan.costs
    return (
        format_tokens(plan.workload.context_tokens),
        f"{plan.fit.deployment.accelerators:,}",
        format_bytes(plan.layout.bytes_for(plan.workload.context_tokens)),
        format_seconds(times.ttft.overlap_s) if times else "does not fit",
        format_seconds(times.tpot.overlap_s) if times else "-",
        format_usd(costs.usd_per_user_hour) if costs else "-",
        format_usd(costs.bill.total_usd) if costs else "-",
        *(("kept" if plan.promise else "not kept",) if plan.slo else ()),
    )


def _print_sweep_warning(console: Console, plans: Sequence[Plan]) -> None:
    limit = plans[0].spec.max_context_tokens
    if any(plan.workload.context_tokens > limit for plan in plans):
        text = f"Beyond {limit:,} tokens this is arithmetic only: the model was not trained for it."
        console.print(Text(text))
    if any(not plan.fit.fits for plan in plans):
        console.print(Text("Some windows do not fit; `windowtax plan` at that length says what is missing."))
