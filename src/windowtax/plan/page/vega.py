"""Pieces of Vega-Lite specifications: lines over logarithmic axes, marks, and the look of all plots.

Colours are CSS variables: one picture serves light and dark.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from windowtax.plan.axes import named, short_figure, short_tokens, steps_125
from windowtax.plan.page.view import Around

WIDTH, HEIGHT = 392, 208
_MOST_LABELS = 6


@dataclass(frozen=True, kw_only=True)
class Along:
    """What runs along the bottom, logarithmic: its first and last value, its labels, the value that was asked for, and
    from where on a shade lies over the plot (None: nowhere)."""

    first: int
    last: int
    labels: dict[int, str]
    here: int
    shade_from: int | None


def along_contexts(around: Around) -> Along:
    """Contexts; the shade lies over those that the model does not claim."""
    contexts = [plan.workload.context_tokens for plan in around.plans]
    claimed = around.plan.spec.max_context_tokens
    return Along(
        first=contexts[0],
        last=contexts[-1],
        labels={tokens: short_tokens(tokens) for tokens in _few(contexts)},
        here=around.form.context,
        shade_from=claimed if claimed < contexts[-1] else None,
    )


def along_users(counts: Sequence[int], here: int, full: int) -> Along:
    """Users of one replica; the shade lies over those who find its memory full."""
    last = max(*counts, here, 2)
    powers = [2**power for power in range(last.bit_length())]
    return Along(first=1, last=last, labels={count: f"{count:,}" for count in _few(powers)}, here=here, shade_from=full)


def lines(
    along: Along,
    rows: list[dict[str, Any]],
    values: Sequence[float] | None,
    series: dict[str, str],
    under: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Lines with both axes logarithmic (values None: 0 to 100 %), the value that was asked for marked.

    rows: x, value, series, said, main (whether its point at the asked value is a big one), and count, a word beside the
    point. values: what the axis must hold. series: name -> CSS role. under: layers drawn first.
    """
    x = _along_axis(along)
    y: dict[str, Any] = {"field": "value", "type": "quantitative"}
    if values is None:
        y |= {"scale": {"domain": [0, 100]}, "axis": {"title": None, "values": [0, 25, 50, 75, 100]}}
    else:
        ends, steps = steps_125(values)
        y |= {
            "scale": {"type": "log", "nice": False, "domain": ends},
            "axis": {"title": None, "values": steps, "labelExpr": named({step: short_figure(step) for step in steps})},
        }
    encoding: dict[str, Any] = {"x": x, "y": y}
    layers = [*_shade(along, x), _upright(along, x)]
    for layer in under:
        own = {"y": {**y, "field": "y"}} if "data" in layer else {**encoding, **layer.get("encoding", {})}
        layers.append({**layer, "encoding": own})
    layers += _marks(along, encoding, colours(series, "series"))
    return spec(layers if rows else [*layers, _nothing()], rows)


def _marks(along: Along, encoding: dict[str, Any], colour: dict[str, Any]) -> list[dict[str, Any]]:
    """The line, its points with their sentences, a big point at the asked value, and words beside points."""
    spoken = {**encoding, "color": colour, "description": {"field": "said"}}
    ring = {"stroke": "var(--card)", "strokeWidth": 2}
    words = {**encoding, "text": {"field": "count"}, "color": {"value": "var(--ink-soft)"}}
    return [
        {"mark": {"type": "line", "strokeWidth": 2, "aria": False}, "encoding": {**encoding, "color": colour}},
        {"mark": {"type": "point", "filled": True, "size": 26, "opacity": 1}, "encoding": spoken},
        {
            "transform": [{"filter": f"datum.main && datum.x == {along.here}"}],
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1, **ring},
            "encoding": spoken,
        },
        {
            "transform": [{"filter": "isValid(datum.count)"}],
            "mark": {"type": "text", "align": "left", "dx": 5, "dy": 12, "fontSize": 10.5, "aria": False},
            "encoding": words,
        },
    ]


def _along_axis(along: Along) -> dict[str, Any]:
    return {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "base": 2, "nice": False, "domain": [along.first, along.last]},
        "axis": context_axis({"values": list(along.labels), "labelExpr": named(along.labels), "labelFlush": False}),
    }


def _shade(along: Along, x: dict[str, Any]) -> list[dict[str, Any]]:
    if along.shade_from is None or along.shade_from >= along.last:
        return []
    shade = {
        "data": {"values": [{"x": along.shade_from, "end": along.last}]},
        "mark": {"type": "rect", "color": "var(--ink)", "opacity": 0.04, "aria": False},
        "encoding": {"x": x, "x2": {"field": "end"}},
    }
    return [shade]


def _upright(along: Along, x: dict[str, Any]) -> dict[str, Any]:
    mark = {"type": "rule", "color": "var(--ink)", "opacity": 0.35, "aria": False}
    return {"data": {"values": [{"x": along.here}]}, "mark": mark, "encoding": {"x": x}}


def _nothing() -> dict[str, Any]:
    """A word where there is nothing to draw."""
    mark = {"type": "text", "text": "nothing fits, so nothing is drawn", "color": "var(--ink-soft)", "fontSize": 13}
    place = {"x": {"value": WIDTH / 2}, "y": {"value": HEIGHT / 2}}
    return {"data": {"values": [{}]}, "mark": mark | {"aria": False}, "encoding": place}


def spec(layers: list[dict[str, Any]], rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A whole specification. Where a plot has nothing to show, its axes stay and its caption says why."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": WIDTH,
        "height": HEIGHT,
        "padding": {"left": 4, "right": 14, "top": 10, "bottom": 2},
        "background": "transparent",
        "data": {"values": rows or []},
        "layer": layers,
        "config": {
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            "axis": {
                "domain": False,
                "ticks": False,
                "labelPadding": 7,
                "labelFontSize": 12,
                "labelColor": "var(--ink-soft)",
                "gridColor": "var(--line)",
                "titleColor": "var(--ink-soft)",
            },
        },
    }


def context_axis(more: dict[str, Any]) -> dict[str, Any]:
    return {"title": None, "labelAngle": 0, "labelPadding": 10, "grid": False, **more}


def colours(series: dict[str, str], field: str) -> dict[str, Any]:
    scale = {"domain": list(series), "range": [f"var(--{role})" for role in series.values()]}
    return {"field": field, "type": "nominal", "legend": None, "scale": scale}


def _few(values: Sequence[int]) -> list[int]:
    """A few of the powers of two among the values, a steady factor apart; of all values where none is a power."""
    powers = [value for value in values if value & (value - 1) == 0] or list(values)
    return powers[:: ceil(len(powers) / _MOST_LABELS)]
