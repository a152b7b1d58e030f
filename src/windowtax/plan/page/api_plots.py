"""The plot of an API beside own machines: dollars of a month against the calls in it."""

from math import ceil, floor, isfinite, log10
from typing import Any

from windowtax.base.units import format_usd
from windowtax.plan.api_side import ApiSide
from windowtax.plan.axes import short_figure
from windowtax.plan.page.vega import Along, lines
from windowtax.price.own import OwnMachines

_AROUND = 100.0
"""The plot runs from this far below what matters to as far above."""
_PER_DECADE = 4
_STAIRS = 4
"""After so many deployments the stair is nearly a straight line."""


def month_along(api: ApiSide) -> Along:
    """Calls a month around those asked for and those where owning wins; shaded from where it wins for good."""
    found = api.crossing
    marks = [mark for mark in (api.calls_per_month, found.first_calls if found else None) if mark]
    first, last = floor(log10(min(marks, default=1.0) / _AROUND)), ceil(log10(max(marks, default=1.0) * _AROUND))
    powers = [10**power for power in range(max(0, first), last + 1)]
    always = found.always_calls if found and isfinite(found.always_calls) else None
    return Along(
        first=powers[0],
        last=powers[-1],
        labels={power: short_figure(power) for power in powers},
        here=round(api.calls_per_month or powers[0]),
        shade_from=None if always is None else max(powers[0], ceil(always)),
    )


def month_rows(api: ApiSide, along: Along) -> list[dict[str, Any]]:
    """Points of both sides; own machines come in whole deployments, so their line is a stair."""
    steps = range(round(_PER_DECADE * log10(along.last / along.first)) + 1)
    plain = {round(along.first * 10 ** (step / _PER_DECADE)) for step in steps} | {along.here}
    rows = [_row(number, "api", api.api_usd(number), f"at {api.name}") for number in sorted(plain)]
    if api.machines is None:
        return rows
    for number in sorted(one for one in plain | _stair(api.machines) if along.first <= one <= along.last):
        groups = api.machines.groups(number)
        where = f"here, on {groups:,} deployment{'s' if groups > 1 else ''}"
        rows.append(_row(number, "own", api.machines.usd(number), where))
    return rows


def _stair(machines: OwnMachines) -> set[int]:
    """The last calls that so many deployments do, and the first that takes another one."""
    full = [floor(count * machines.month_calls) for count in range(1, _STAIRS + 1)]
    return {calls + more for calls in full for more in (0, 1)}


def _row(calls: int, series: str, usd: float, where: str) -> dict[str, Any]:
    said = f"{calls:,} calls a month: {format_usd(usd)} {where}"
    return {"x": calls, "value": usd, "series": series, "said": said, "main": True}


def month_keys(api: ApiSide) -> tuple[tuple[str, str], ...]:
    """The legend."""
    own = (("on own machines, busy or not", "money"),) if api.machines else ()
    return (("at the API", "other2"), *own)


def month_spec(along: Along, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The picture."""
    return lines(along, rows, [row["value"] for row in rows], {"api": "other2", "own": "money"})
