"""The sweep as a picture: four panels by altair, written as SVG, PNG or self-contained HTML without any network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.base.units import GIB
from windowtax.plan.axes import named, short_figure, short_tokens, steps_125
from windowtax.plan.plan import Plan

FORMATS = (".svg", ".png", ".html")

_PANEL_WIDTH, _PANEL_HEIGHT = 380, 240
_MOST_TICKS = 12
_ROOM_BELOW = 1.6
"""The numbers of accelerators stand below their points."""
_NAME_PLACES: dict[str, dict[str, Any]] = {
    "start": {"align": "left", "dx": 6, "dy": -9},
    "end": {"align": "left", "dx": 8, "dy": 0},
}
"""Where a line can carry its name: over its first point, or beside its last, outside the panel."""
_PNG_SCALE = 2.0
_COLOURS = ["#0b6e99", "#c8553d", "#7a8b99", "#588157"]


def write_chart(plans: tuple[Plan, ...], path: Path) -> None:
    """Writes the chart of a sweep. Raises BadInput for another file type or a folder that is not there."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise BadInput(f"{path.name} is not a picture that can be drawn.", f"End the name in {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {path.parent}.", "Make it, or write somewhere else.")
    import vl_convert

    spec = sweep_chart(plans)
    if suffix == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
    elif suffix == ".png":
        path.write_bytes(vl_convert.vegalite_to_png(spec, scale=_PNG_SCALE))
    else:
        path.write_text(vl_convert.vegalite_to_html(spec, bundle=True), encoding="utf-8")


def sweep_chart(plans: tuple[Plan, ...]) -> dict[str, Any]:
    """The Vega-Lite specification: memory, TTFT, TPOT and dollars per call against the context length."""
    import altair

    first = plans[0]
    panels = [
        _panel(_memory_rows(plans), "Weights and KV cache", "GiB", plans),
        _panel(_rows(plans, "time to first token", _ttft), "Time to first token, alone", "seconds", plans),
        _panel(_rows(plans, "time per output token", _tpot), _tpot_title(plans), "milliseconds", plans),
        _panel(_rows(plans, "one call", _usd), "One call, busy machines", "US dollars", plans),
    ]
    users = f"{first.workload.users:,} user{'s' if first.workload.users > 1 else ''}"
    chart: Any = altair.concat(*panels, columns=2, spacing={"row": 28, "column": 24})
    chart = chart.resolve_scale(color="independent")
    chart = chart.properties(
        title=altair.TitleParams(
            f"{first.spec.name}: what a context window costs",
            subtitle=[
                f"{first.hardware.title}, {users}, cache {first.dtype.name}, weights {first.scheme.name}, "
                f"{first.workload.output_tokens:,} output tokens",
                f"Accelerators (x): {_accelerators(plans)}. Derived with roofline efficiencies, not measured runs.",
            ],
            anchor="start",
            fontSize=18,
            subtitleFontSize=12,
            subtitleColor="#555",
            offset=16,
        )
    )
    chart = chart.configure_view(stroke="#ccc").configure_axis(gridColor="#eee", labelFontSize=11, titleFontSize=12)
    return chart.configure(font="DejaVu Sans, Helvetica, Arial, sans-serif", background="white").to_dict()


def _panel(rows: list[dict[str, Any]], title: str, unit: str, plans: tuple[Plan, ...]) -> Any:
    """One panel: a line per series with its name at its end, and at each change how many accelerators it takes.

    altair's types are too loose for a strict checker, so panels pass as Any.
    """
    import altair

    contexts = [plan.workload.context_tokens for plan in plans]
    shown = contexts[:: -(-len(contexts) // _MOST_TICKS)]
    series = list(dict.fromkeys(row["series"] for row in rows))
    values = [row["value"] for row in rows]
    ends, ticks = steps_125([*values, *(value / _ROOM_BELOW for value in values)])
    lines = (
        altair.Chart(altair.Data(values=rows))
        .mark_line(point=altair.OverlayMarkDef(size=36), strokeWidth=2)
        .encode(
            x=altair.X(
                "tokens:Q",
                title="context, tokens",
                scale=altair.Scale(type="log", base=2, nice=False, domain=[contexts[0], contexts[-1]]),
                axis=altair.Axis(
                    values=shown,
                    labelExpr=named({tokens: short_tokens(tokens) for tokens in shown}),
                    labelAngle=0,
                    labelFlush=False,
                ),
            ),
            y=altair.Y(
                "value:Q",
                title=unit,
                scale=altair.Scale(type="log", nice=False, domain=ends),
                axis=altair.Axis(values=ticks, labelExpr=named({tick: short_figure(tick) for tick in ticks})),
            ),
            color=altair.Color(
                "series:N", legend=None, scale=altair.Scale(domain=series, range=_COLOURS[: len(series)])
            ),
            tooltip=[
                altair.Tooltip(f"{key}:{kind}") for key, kind in (("series", "N"), ("tokens", "Q"), ("value", "Q"))
            ],
        )
    )
    texts = [
        lines.mark_text(fontSize=11, fontWeight="bold", **place).encode(text=f"{field}:N")
        for field, place in _NAME_PLACES.items()
    ]
    counts = lines.mark_text(align="left", dx=7, dy=9, fontSize=11).encode(text="count:N", color=altair.value("#555"))
    return altair.layer(lines, *texts, counts).properties(title=title, width=_PANEL_WIDTH, height=_PANEL_HEIGHT)


def _memory_rows(plans: tuple[Plan, ...]) -> list[dict[str, Any]]:
    users = plans[0].workload.users
    series: dict[str, list[tuple[int, float]]] = {"cache, 1 user": [], "weights": []}
    if users > 1:
        series[f"cache, {users:,} users"] = []
    for plan in plans:
        tokens = plan.workload.context_tokens
        cache = plan.layout.bytes_for(tokens)
        for points, size in zip(series.values(), (cache, plan.weights.resident, cache * users), strict=False):
            points.append((tokens, size / GIB))
    places = ("end", "start", "end")
    found = (_named(name, points, place) for (name, points), place in zip(series.items(), places, strict=False))
    return [row for rows in found for row in rows]


def _rows(plans: tuple[Plan, ...], series: str, figure: Callable[[Plan], float | None]) -> list[dict[str, Any]]:
    found = [(plan, figure(plan)) for plan in plans]
    points = [(plan.workload.context_tokens, value) for plan, value in found if value is not None]
    rows = _named(series, points, None)
    before = 0
    for row, plan in zip(rows, (plan for plan, value in found if value is not None), strict=True):
        count = plan.fit.deployment.accelerators
        row["count"] = f"x{count:,}" if count != before else ""
        before = count
    return rows


def _named(series: str, points: list[tuple[int, float]], place: str | None) -> list[dict[str, Any]]:
    """Rows of one line. place: which of _NAME_PLACES carries its name, None for a line that needs none."""
    blank = dict.fromkeys([*_NAME_PLACES, "count"], "")
    rows: list[dict[str, Any]] = [
        {"series": series, "tokens": tokens, "value": value, **blank} for tokens, value in points
    ]
    if place is not None and rows:
        rows[0 if place == "start" else -1][place] = series
    return rows


def _ttft(plan: Plan) -> float | None:
    return plan.times.ttft.overlap_s if plan.times else None


def _tpot(plan: Plan) -> float | None:
    return plan.times.tpot.overlap_s * 1e3 if plan.times else None


def _usd(plan: Plan) -> float | None:
    return plan.costs.bill.total_usd if plan.costs else None


def _tpot_title(plans: tuple[Plan, ...]) -> str:
    users = plans[0].workload.users
    return "Time per output token" + (f", {users:,} users decode together" if users > 1 else "")


def _accelerators(plans: tuple[Plan, ...]) -> str:
    """Which numbers of accelerators the sweep uses, and from where on: "1 up to 64K, 2 up to 256K, 4 up to 1M"."""
    last: dict[int, int] = {}
    for plan in plans:
        last[plan.fit.deployment.accelerators] = plan.workload.context_tokens
    if len(last) == 1:
        return str(next(iter(last)))
    return ", ".join(f"{count:,} up to {short_tokens(tokens)}" for count, tokens in last.items())
