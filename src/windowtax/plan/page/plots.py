"""The plots: what each draws, from plans. Drawn to SVG here, offline, so that the page needs no drawing code.

Each mark carries, as its description, the sentence that the page shows when it is pointed at.
"""

from dataclasses import dataclass
from html import escape
from threading import Lock
from typing import Any

from windowtax.base.units import GIB, format_bytes, format_seconds, format_tokens, format_usd
from windowtax.plan.api_report import wins_note
from windowtax.plan.api_side import ApiSide
from windowtax.plan.axes import short_tokens
from windowtax.plan.page.api_plots import month_along, month_keys, month_rows, month_spec
from windowtax.plan.page.vega import along_contexts, along_users, colours, context_axis, lines, spec
from windowtax.plan.page.view import Around
from windowtax.plan.plan import Plan

_MOST_IN_MS = 2.0
_DRAWING = Lock()
_SMALLEST: dict[str, Any] = {"data": {"values": []}, "mark": "point"}


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture. keys: (name, CSS role) of its lines, for the legend; note: what the reader must know of it.

    unit: of the figures drawn; against: what runs along the bottom.
    """

    name: str
    title: str
    unit: str
    keys: tuple[tuple[str, str], ...]
    note: str
    spec: dict[str, Any]
    against: str = "context"

    def svg(self) -> str:
        """The picture. Drawn offline by vl-convert's embedded Vega."""
        import vl_convert

        with _DRAWING:
            drawn = vl_convert.vegalite_to_svg(self.spec)
        return drawn.replace(
            "<svg ", f'<svg role="img" aria-label="{escape(self.title)}, {self.unit} by {self.against}" ', 1
        )


def warm() -> None:
    """Starts the drawing engine, which takes a third of a second the first time."""
    Plot("warm", "", "", (), "", _SMALLEST).svg()


def plots(around: Around) -> list[Plot]:
    """All of them, in the order in which a reader asks: memory, users, time, money, and why."""
    return [
        _memory(around),
        _users(around),
        _ttft(around),
        _tpot(around),
        _money(around),
        *([_month(around.api)] if around.api else []),
        _reads(around),
        _waits(around),
        _throughput(around),
    ]


def _memory(around: Around) -> Plot:
    """Stacked bars: one accelerator's bytes at each context."""
    rows: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    for plan in around.plans:
        budget, tokens = plan.fit.budget, plan.workload.context_tokens
        parts = (budget.weights_bytes, budget.activations_bytes, budget.cache_bytes)
        for order, (name, size) in enumerate(zip(("weights", "activations", "KV cache"), parts, strict=True)):
            said = f"{format_tokens(tokens)} tokens: {name} {format_bytes(size)} on each of {_accelerators(plan)}"
            rows.append({"at": short_tokens(tokens), "gib": size / GIB, "order": order, "part": name, "said": said})
        counts.append(
            {
                "at": short_tokens(tokens),
                "top": max(0, budget.memory_bytes, sum(parts)) / GIB,
                "count": f"×{plan.fit.deployment.accelerators:,}",
            }
        )
    here = {"condition": {"test": f"datum.at == '{short_tokens(around.form.context)}'", "value": 1}, "value": 0.5}
    budget = around.plan.fit.budget
    limits = [{"y": budget.memory_bytes / GIB}, {"y": budget.usable_bytes / GIB}]
    order = [one["at"] for one in counts]
    labels = context_axis({"labelOverlap": "greedy", "labelSeparation": 4})
    x = {"field": "at", "type": "ordinal", "sort": order, "axis": labels}
    y = {"field": "gib", "type": "quantitative", "axis": {"title": None, "tickCount": 5}, "stack": "zero"}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": rows},
            "mark": {"type": "bar"},
            "encoding": {
                "x": x,
                "y": y,
                "order": {"field": "order"},
                "opacity": here,
                "color": colours({"weights": "weights", "activations": "activations", "KV cache": "cache"}, "part"),
                "description": {"field": "said"},
            },
        },
        {
            "data": {"values": limits},
            "mark": {"type": "rule", "strokeDash": [4, 3], "color": "var(--ink-soft)", "aria": False},
            "encoding": {"y": {"field": "y", "type": "quantitative"}},
        },
        {
            "data": {"values": counts},
            "mark": {"type": "text", "dy": -7, "fontSize": 11, "color": "var(--ink-soft)", "aria": False},
            "encoding": {
                "x": x,
                "y": {"field": "top", "type": "quantitative"},
                "text": {"field": "count"},
                "opacity": here,
            },
        },
    ]
    keys = (("KV cache", "cache"), ("activations", "activations"), ("weights", "weights"))
    note = "Dashes: all of its memory, and what of it may be used. Above: how many accelerators share the work."
    return Plot("memory", "Memory of one accelerator", "GiB", keys, note, spec(layers))


def _ttft(around: Around) -> Plot:
    rows = [
        _bounds_row(plan, "ttft", plan.times.ttft.overlap_s, plan.times.ttft.serial_s, plan.times.ttft.bound_by)
        for plan in around.plans
        if plan.times is not None
    ]
    keys = (("from perfect overlap of reading and computing to none", "time"),)
    return _bands(around, "ttft", "Time to first token, alone", keys, {"ttft": "time"}, rows)


def _tpot(around: Around) -> Plot:
    users = around.plan.workload.users
    rows: list[dict[str, Any]] = []
    for plan in around.plans:
        if plan.times is not None:
            bound, (low, high) = plan.times.tpot, plan.times.loaded_tpot_s
            rows.append(_bounds_row(plan, "tpot", bound.overlap_s, bound.serial_s, bound.bound_by))
            if users > 1:
                rows.append(_bounds_row(plan, "load", low, high, "steady load", main=False))
    keys = (("all decode together", "time"), ("steady load: other prompts are read in between", "other2"))
    title = f"Time per output token, {users:,} users" if users > 1 else "Time per output token"
    return _bands(around, "tpot", title, keys[: 1 + (users > 1)], {"tpot": "time", "load": "other2"}, rows)


def _bounds_row(plan: Plan, series: str, low_s: float, high_s: float, why: str, main: bool = True) -> dict[str, Any]:
    why = why if why == "steady load" else f"{why}-bound"
    said = f"{format_seconds(low_s)} – {format_seconds(high_s)}, {why}"
    return _row(plan, series, low_s, said) | {"high": high_s, "main": main}


def _bands(
    around: Around,
    name: str,
    title: str,
    keys: tuple[tuple[str, str], ...],
    series: dict[str, str],
    rows: list[dict[str, Any]],
) -> Plot:
    """Lines of times, each with a band above it up to its `high`; in s or ms, whichever reads better."""
    values = [row[key] for row in rows for key in ("value", "high")]
    unit, factor = ("seconds", 1.0) if not values or max(values) >= _MOST_IN_MS else ("milliseconds", 1e-3)
    for row in rows:
        row["value"], row["high"] = row["value"] / factor, row["high"] / factor
    _count([row for row in rows if row["main"]], around)
    band = {
        "mark": {"type": "area", "opacity": 0.2, "aria": False},
        "encoding": {"y2": {"field": "high"}, "color": colours(series, "series")},
    }
    drawn = lines(along_contexts(around), rows, [value / factor for value in values], series, [band])
    return Plot(name, title, unit, keys, _missing(around, "×: accelerators, where their number changes."), drawn)


def _money(around: Around) -> Plot:
    rows: list[dict[str, Any]] = []
    for plan in around.plans:
        if plan.costs is not None:
            hour, call = plan.costs.usd_per_user_hour, plan.costs.bill.total_usd
            rows.append(_row(plan, "window", hour, f"{format_usd(hour)} to hold one window for an hour"))
            rows.append(_row(plan, "call", call, f"{format_usd(call)} for one call"))
        if around.api and (usd := around.api_calls.get(plan.workload.context_tokens)) is not None:
            rows.append(_row(plan, "api", usd, f"{format_usd(usd)} for one call at {around.api.name}"))
    keys = [("holding one window for an hour", "money"), ("one call, machines busy", "cache")]
    _count([row for row in rows if row["series"] == "window"], around)
    note = _missing(around, "The window beside as many others as fit; the call while no machine waits.")
    series = {"window": "money", "call": "cache"}
    if around.api:
        keys.append((f"one call at {around.api.name}", "other2"))
        series["api"] = "other2"
    return Plot("usd", "Dollars", "USD", tuple(keys), note, lines(along_contexts(around), rows, _values(rows), series))


def _month(api: ApiSide) -> Plot:
    """Both sides of a month against its calls."""
    along = month_along(api)
    rows = month_rows(api, along)
    note = f"{wins_note(api)[0].upper()}{wins_note(api)[1:]}."
    if along.shade_from is not None:
        note += " Shaded: owning wins for good."
    return Plot(
        "month", "A month, here and there", "USD", month_keys(api), note, month_spec(along, rows), "calls a month"
    )


def _users(around: Around) -> Plot:
    rows: list[dict[str, Any]] = []
    keys: list[tuple[str, str]] = []
    roles = ("cache", "other1", "other2", "other3")
    series: dict[str, str] = {}
    for curve, role in zip(around.users, roles, strict=False):
        keys.append((f"cache in {curve.cache_dtype}", role))
        series[curve.cache_dtype] = role
        for tokens, users in curve.points:
            said = f"{format_tokens(tokens)} tokens: {users:,} users, cache in {curve.cache_dtype}"
            if users:
                main = role == roles[0]
                rows.append({"x": tokens, "value": users, "series": curve.cache_dtype, "said": said, "main": main})
    asked = around.plan.workload.users
    rule = {
        "data": {"values": [{"y": asked}]},
        "mark": {"type": "rule", "strokeDash": [4, 3], "color": "var(--ink-soft)", "aria": False},
    }
    note = f"On the {_accelerators(around.plan)} of this plan. Dashes: the {asked:,} asked for."
    if any(users == 0 for curve in around.users[:1] for _, users in curve.points):
        note += " The line ends where not one window fits."
    return Plot(
        "users",
        "Windows that fit",
        "users",
        tuple(keys),
        note,
        lines(along_contexts(around), rows, [*_values(rows), asked], series, [rule]),
    )


def _reads(around: Around) -> Plot:
    rows = [
        _row(plan, "share", times.cache_share, f"{times.cache_share:.1%} of the bytes of a decode step are cache")
        for plan in around.plans
        if (times := plan.times) is not None
    ]
    for row in rows:
        row["value"] *= 100
    area = {"mark": {"type": "area", "color": "var(--cache)", "opacity": 0.18, "aria": False}}
    drawn = lines(along_contexts(around), rows, None, {"share": "cache"}, [area])
    note = _missing(around, "The rest are weights. Above one half, the window costs more than the model.")
    title = "The cache’s part of what a decode step reads"
    return Plot("reads", title, "%", (("cache bytes / all bytes", "cache"),), note, drawn)


def _waits(around: Around) -> Plot:
    """Mean TTFT and TPOT against the users of one replica."""
    rows: list[dict[str, Any]] = []
    load = around.plan.load
    for at in load.curve() if load else ():
        for series, seconds, what in (("ttft", at.ttft_s, "to the first token"), ("tpot", at.tpot_s, "per token")):
            said = f"{at.users:,} users, {at.in_flight:,} served: {format_seconds(seconds)} {what}, a mean"
            rows.append({"x": at.users, "value": seconds, "series": series, "said": said, "main": True})
    keys = (("to the first token", "time"), ("per output token", "other2"))
    note = "Means under steady load: whoever is done asks again."
    return _loaded(around, "load", "What each user waits for", "seconds", keys, note, rows)


def _throughput(around: Around) -> Plot:
    """Output tokens per second of one replica against its users, the knee named."""
    rows: list[dict[str, Any]] = []
    load = around.plan.load
    for at in load.curve() if load else ():
        said = f"{at.users:,} users, {at.in_flight:,} served: {at.output_tokens_per_s:,.1f} output tokens/s"
        row = {"x": at.users, "value": at.output_tokens_per_s, "series": "rate", "said": said, "main": True}
        rows.append(row | ({"count": "knee"} if load and at.users == load.knee.users else {}))
    note = "Of one replica. The knee: tokens per second over time per token is largest there."
    keys = (("output tokens per second", "money"),)
    return _loaded(around, "rate", "What all of them get", "tokens/s", keys, note, rows)


def _loaded(
    around: Around,
    name: str,
    title: str,
    unit: str,
    keys: tuple[tuple[str, str], ...],
    note: str,
    rows: list[dict[str, Any]],
) -> Plot:
    """Lines over the users of one replica of the plan."""
    load, point = around.plan.load, around.plan.point
    full, here = (load.most_in_flight if load else 1), (point.users if point else 1)
    along = along_users([row["x"] for row in rows] or [1], here, full)
    names = dict.fromkeys(row["series"] for row in rows)
    series = {one: role for one, (_, role) in zip(names, keys, strict=False)}
    if load:
        fits = f"the {full:,} windows that fit" if full > 1 else "the one window that fits"
        note += f" Shaded: more than {fits}, so requests wait."
    return Plot(name, title, unit, keys, note, lines(along, rows, _values(rows), series), "users of one replica")


def _row(plan: Plan, series: str, value: float, said: str) -> dict[str, Any]:
    tokens = plan.workload.context_tokens
    said = f"{format_tokens(tokens)} tokens, {_accelerators(plan)}: {said}"
    return {"x": tokens, "value": value, "series": series, "said": said, "main": True}


def _accelerators(plan: Plan) -> str:
    count = plan.fit.deployment.accelerators
    return f"{count:,} accelerator{'s' if count > 1 else ''}"


def _count(rows: list[dict[str, Any]], around: Around) -> None:
    """Writes the number of accelerators beside the first of these points and wherever it changes."""
    counts = {plan.workload.context_tokens: plan.fit.deployment.accelerators for plan in around.plans}
    before = 0
    for row in rows:
        if counts[row["x"]] != before:
            before = counts[row["x"]]
            row["count"] = f"×{before:,}"


def _values(rows: list[dict[str, Any]]) -> list[float]:
    return [row["value"] for row in rows]


def _missing(around: Around, note: str) -> str:
    if around.plan.spec.max_context_tokens < around.plans[-1].workload.context_tokens:
        note += f" Shaded: beyond the {format_tokens(around.plan.spec.max_context_tokens)} tokens the model claims."
    if not all(plan.fit.fits for plan in around.plans):
        note += " Contexts that do not fit are left out."
    elif all(plan.costs is None for plan in around.plans):
        note += " No price is known for this hardware."
    return note
