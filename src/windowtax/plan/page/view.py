"""What the page says for a form: figures with their exact values and their basis, tables, and the data of the plots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from windowtax.base.units import format_bytes, format_seconds, format_tokens, format_usd
from windowtax.plan.api_report import api_section, api_steps, own_note, whose_calls, wins_note
from windowtax.plan.api_side import ApiSide, call_bill
from windowtax.plan.contract import plan_json
from windowtax.plan.explain import Step, derivation
from windowtax.plan.page.form import Form
from windowtax.plan.page.planner import Planner, UsersCurve
from windowtax.plan.plan import Plan
from windowtax.plan.report import Section, choices_table, headline, sections
from windowtax.spec.cache import CacheLayout


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: `path` is its place in plan_json, `value` what stands there; `text` is that for people.

    basis: what it is (derived, datasheet ...), as the terminal's table says it too.
    """

    label: str
    path: str
    value: int | float | None
    text: str
    note: str
    basis: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part of one accelerator's memory: bytes, and its part of the bar's whole width."""

    name: str
    role: str
    num_bytes: int
    of_bar: float


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything the upper half of the page shows. groups, choices: rows of texts, headings first."""

    form: Form
    plan: Plan
    api: ApiSide | None
    data: dict[str, Any]
    title: str
    command: str
    warnings: tuple[str, ...]
    figures: tuple[Figure, ...]
    memory: tuple[Share, ...]
    groups: list[tuple[str, ...]]
    choices: list[tuple[str, ...]]
    sections: tuple[Section, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Around:
    """What the plots and the table of contexts show: the same form at other contexts, and who fits on its machines.

    api_calls: context -> dollars of one call at the API, where its window takes that.
    """

    form: Form
    plan: Plan
    plans: tuple[Plan, ...]
    users: list[UsersCurve]
    api: ApiSide | None
    api_calls: Mapping[int, float]


def look(planner: Planner, form: Form) -> View:
    """The view of a form. Raises what reading names and planning raise."""
    plan = planner.plan(form)
    api = planner.api(form, plan)
    data = plan_json(plan, api)
    return View(
        form=form,
        plan=plan,
        api=api,
        data=data,
        title=headline(plan),
        command=form.words(),
        warnings=(*plan.warnings, *(f"{api.name}: {text}" for text in api.notes)) if api else plan.warnings,
        figures=(*(_figure(data, *row) for row in _FIGURES), *(_api_figures(data, api) if api else ())),
        memory=tuple(_memory(plan)),
        groups=groups_table(plan),
        choices=choices_table(plan),
        sections=(*sections(plan), *((api_section(api),) if api else ())),
        steps=(*derivation(plan), *(api_steps(api) if api else ())),
    )


def look_around(planner: Planner, form: Form) -> Around:
    """The plans that the plots draw. Raises as look does."""
    plan, plans = planner.plan(form), planner.sweep(form)
    contexts = [one.workload.context_tokens for one in plans]
    api = planner.api(form, plan)
    return Around(
        form=form,
        plan=plan,
        plans=plans,
        users=planner.users_curves(form, plan, contexts),
        api=api,
        api_calls=_api_calls(api, plans) if api else {},
    )


def _api_calls(api: ApiSide, plans: tuple[Plan, ...]) -> dict[int, float]:
    sheet = api.traffic.sheet
    most = min((limit for limit in (sheet.window_tokens, sheet.refused_above) if limit is not None), default=None)
    works = [plan.workload for plan in plans if most is None or plan.workload.context_tokens <= most]
    return {work.context_tokens: float(call_bill(sheet, work).total_usd) for work in works}


def at(data: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path of plan_json; None where a part of the way is null (it does not fit, no price)."""
    found: Any = data
    for name in path.split("."):
        if found is None:
            return None
        found = cast("Mapping[str, Any]", found)[name]
    return found


def _hourly(usd: float) -> str:
    return f"{format_usd(usd)}/h"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _per_second(number: float) -> str:
    return f"{number:,.1f}/s"


def _between(data: dict[str, Any], other: str) -> str:
    value = at(data, other)
    return f"{format_seconds(value)} if reading and computing do not overlap" if value is not None else ""


def _figure(
    data: dict[str, Any],
    label: str,
    path: str,
    text: Callable[[Any], str],
    note: Callable[[dict[str, Any]], str],
) -> Figure:
    value = at(data, path)
    return Figure(label, path, value, "–" if value is None else text(value), note(data), "derived")


def _arrangement(data: dict[str, Any]) -> str:
    fit, title = data["fit"], data["hardware"]["title"]
    ways = [f"{fit['tensor_parallel']} rank{'s' if fit['tensor_parallel'] > 1 else ''} per group"]
    if fit["pipeline_stages"] > 1:
        ways.append(f"{fit['pipeline_stages']} stages")
    if fit["replicas"] > 1:
        ways.append(f"{fit['replicas']} groups")
    return f"{title}; {', '.join(ways)}"


def _all_cost(data: dict[str, Any]) -> str:
    hour = at(data, "cost.usd_per_hour")
    if hour is None:
        return _why_no_cost(data)
    return f"{format_usd(hour)}/h for all {data['fit']['accelerators']:,}"


def _why_no_cost(data: dict[str, Any]) -> str:
    return "no price is known" if data["fit"]["fits"] else "does not fit"


def _call_parts(data: dict[str, Any]) -> str:
    cost = data["cost"]
    if cost is None:
        return _why_no_cost(data)
    return f"prompt {format_usd(cost['usd_per_call_prompt'])}, output {format_usd(cost['usd_per_call_output'])}"


def _api_figures(data: dict[str, Any], api: ApiSide) -> tuple[Figure, ...]:
    """The month at the API, the month here, and where owning wins."""
    calls = "" if api.calls_per_month is None else f"{_whole(api.calls_per_month)} calls: "
    there, wins = f"{calls}{whose_calls(api)}", wins_note(api)
    found = (
        _figure(data, "A month at the API", "api.usd_per_month", format_usd, lambda _: there),
        _figure(data, "The same calls here", "api.own_usd_per_month", format_usd, lambda _: own_note(api)),
        _figure(data, "Owning wins from", "api.own_wins_first_calls", _whole, lambda _: wins),
    )
    never = api.machines is not None and api.crossing is None
    return (*found[:2], replace(found[2], text="never") if never else found[2])


_FIGURES: tuple[tuple[str, str, Callable[[Any], str], Callable[[dict[str, Any]], str]], ...] = (
    ("Cache of one window", "cache.total_bytes", format_bytes, lambda data: f"{data['cache']['total_bytes']:,} B"),
    (
        "Each further token",
        "cache.growth_bytes_per_token",
        format_bytes,
        lambda data: f"{data['cache']['growth_bytes_per_token']:,} B",
    ),
    ("Accelerators", "fit.accelerators", _whole, _arrangement),
    (
        "Most users",
        "fit.most_users",
        _whole,
        lambda data: f"windows of {format_tokens(data['context_tokens'])} tokens they hold",
    ),
    (
        "Time to first token",
        "time.ttft_s",
        format_seconds,
        lambda data: _between(data, "time.ttft_serial_s") or "does not fit",
    ),
    (
        "Time per output token",
        "time.tpot_s",
        format_seconds,
        lambda data: _between(data, "time.tpot_serial_s") or "does not fit",
    ),
    ("Holding one window", "cost.usd_per_user_hour", _hourly, _all_cost),
    ("One call, machines busy", "cost.usd_per_call", format_usd, _call_parts),
    (
        "Output tokens",
        "time.output_tokens_per_s",
        _per_second,
        lambda data: "whole deployment, steady load",
    ),
)
"""(label, path in plan_json, its text, the note below it)."""


def _memory(plan: Plan) -> list[Share]:
    """One accelerator's memory, part by part; where it does not fit the bar is longer than the memory."""
    budget = plan.fit.budget
    left, reserved = budget.left_bytes, budget.memory_bytes - budget.usable_bytes
    parts = [
        ("weights", "weights", budget.weights_bytes),
        ("activations", "activations", budget.activations_bytes),
        ("KV cache", "cache", budget.cache_bytes),
    ]
    if left >= 0:
        parts += [("free", "free", left), ("kept for the system", "reserved", reserved)]
    used = sum(size for _, _, size in parts)
    found = [Share(name, role, size, size / used) for name, role, size in parts]
    if left < 0:
        found.append(Share("missing", "missing", -left, -left / used))
    return found


def groups_table(plan: Plan) -> list[tuple[str, ...]]:
    """The cache by groups of equal layers, exact bytes; the last line is all of it. Each figure is CacheLayout's."""
    layout, context, chunk = plan.layout, plan.workload.context_tokens, plan.sizing.chunk_tokens
    sizes = ("rows of one window", "bytes per row", "bytes of one window", "allocated")
    lines: list[tuple[str, ...]] = [("layers", "kind", "what it keeps", *sizes)]
    for group in layout.groups:
        alone, cache = CacheLayout((group,), layout.block_size), group.cache
        rows = cache.peak_tokens(context)
        lines.append(
            (
                f"{len(group.layers):,}",
                ", ".join(sorted({plan.spec.layers[index].attention.kind for index in group.layers})),
                ", ".join(plane.name for plane in cache.planes),
                f"{rows:,}" if cache.token_bytes else "a state",
                f"{group.token_bytes:,}" if cache.token_bytes else "–",
                f"{alone.bytes_for(context):,}",
                f"{alone.pool_bytes_for(context, chunk):,}",
            )
        )
    total = (f"{layout.bytes_for(context):,}", f"{layout.pool_bytes_for(context, chunk):,}")
    return [*lines, (f"{len(plan.spec.layers):,}", "all layers", "", "", "", *total)]


def contexts_table(around: Around) -> list[tuple[str, ...]]:
    """One line per context of the sweep: the figures behind the plots, bytes exact."""
    sizes = ("one window, bytes", "allocated, bytes", "accelerators", "most users")
    lines: list[tuple[str, ...]] = [("context", *sizes, "TTFT", "TPOT", "window per hour", "one call")]
    for plan in around.plans:
        context, times, costs = plan.workload.context_tokens, plan.times, plan.costs
        lines.append(
            (
                format_tokens(context),
                f"{plan.layout.bytes_for(context):,}",
                f"{plan.layout.pool_bytes_for(context, plan.sizing.chunk_tokens):,}",
                f"{plan.fit.deployment.accelerators:,}" + ("" if plan.fit.fits else " do not hold it"),
                f"{plan.fit.most_users:,}",
                format_seconds(times.ttft.overlap_s) if times else "–",
                format_seconds(times.tpot.overlap_s) if times else "–",
                format_usd(costs.usd_per_user_hour) if costs else "–",
                format_usd(costs.bill.total_usd) if costs else "–",
            )
        )
    return lines
