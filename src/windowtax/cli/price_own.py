"""Own hardware beside an API: how many calls a group of machines does, and from which volume owning wins."""

from dataclasses import dataclass

from rich.console import Console

from windowtax.base.errors import BadInput
from windowtax.cli import price_text as text
from windowtax.plan.plan import Costs, Plan, PlanOptions, Times, make_plan
from windowtax.price.own import Crossing, OwnMachines, crossing
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

VOLUMES = tuple(10**power for power in range(3, 8))
"""Calls a month at which both sides are shown."""


@dataclass(frozen=True)
class OwnSetup:
    """A model on own hardware: its devices, how many of them a group has (None: the fewest), how busy they can be."""

    spec: ModelSpec
    hardware: Hardware
    accelerators: int | None
    utilisation: float
    cache_dtype: str


@dataclass(frozen=True, kw_only=True)
class AxisPoint:
    """A month of so many calls on own hardware and at the API, in USD; groups: machines that stand there."""

    calls: int
    groups: int
    own_usd: float
    api_usd: float


@dataclass(frozen=True, kw_only=True)
class OwnSide:
    """One way of answering on own hardware and at the API. crossing: where owning wins, None where it never does."""

    model: str
    hardware: str
    name: str
    accelerators: int
    api_usd_per_call: float
    machines: OwnMachines
    crossing: Crossing | None
    axis: tuple[AxisPoint, ...]


def own_side(
    setup: OwnSetup,
    name: str,
    *,
    prompt_tokens: int,
    reused_tokens: int,
    output_tokens: int,
    turns: int,
    api_usd: float,
) -> OwnSide:
    """Sets own machines beside an API price of a call.

    reused_tokens: of the prompt, held in the cache from the second of `turns` turns on, where every group holds as many
    windows as fit. Calls an hour come from the plan's steady throughput without overlap. Raises BadInput.
    """
    output = max(1, output_tokens)
    accelerators, cold, usd_per_hour = _calls_per_hour(setup, prompt_tokens + output, output, 0)
    rate = cold
    if reused_tokens and turns > 1:
        reused = min(reused_tokens, prompt_tokens - 1)
        _, warm, _ = _calls_per_hour(setup, prompt_tokens + output, output, reused)
        # A session is one cold call and turns - 1 warm ones, so its calls share the hours of both.
        rate = turns / (1 / cold + (turns - 1) / warm)
    machines = OwnMachines(usd_per_hour=usd_per_hour, calls_per_hour=rate, utilisation=setup.utilisation)
    axis = [
        AxisPoint(calls=calls, groups=machines.groups(calls), own_usd=machines.usd(calls), api_usd=api_usd * calls)
        for calls in VOLUMES
    ]
    return OwnSide(
        model=setup.spec.name,
        hardware=setup.hardware.title,
        name=name,
        accelerators=accelerators,
        api_usd_per_call=api_usd,
        machines=machines,
        crossing=crossing(machines, api_usd),
        axis=tuple(axis),
    )


def print_own_side(out: Console, side: OwnSide) -> None:
    """One axis, own and API side by side, and where they cross."""
    text.section(out, f"Own: {side.model} on {side.accelerators} x {side.hardware}, {side.name}")
    full, hour = text.usd(side.machines.full_call_usd), text.usd(side.machines.usd_per_hour)
    hourly, share = side.machines.calls_per_hour, side.machines.utilisation
    busy = f"{hourly:,.1f} calls an hour when full, {share:.0%} of the month busy"
    text.notes(
        out, [f"{busy}: {full} a call at best, {text.usd(side.api_usd_per_call)} at the API ({hour}/h; derived)"]
    )
    lines = [("calls a month", "groups", "own", "API", "cheaper")]
    for point in side.axis:
        cheaper = "own" if point.own_usd < point.api_usd else "API"
        both = (text.usd(point.own_usd), text.usd(point.api_usd))
        lines.append((f"{point.calls:,}", f"{point.groups:,}", *both, cheaper))
    text.table(out, lines, left=0)
    if side.crossing is None:
        text.notes(out, ["owning never wins here: a full group costs more per call than the API"])
        return
    always = side.crossing.always_calls
    good = "never for good" if always == float("inf") else f"for good from {always:,.0f}"
    text.notes(out, [f"owning wins first at {side.crossing.first_calls:,.0f} calls a month, {good}"])


def _calls_per_hour(setup: OwnSetup, window: int, output: int, cached: int) -> tuple[int, float, float]:
    """Accelerators of a group, the calls an hour it does when full, and its rent in USD per hour. Raises BadInput."""

    def planned(users: int, accelerators: int | None) -> Plan:
        work = Workload(context_tokens=window, output_tokens=output, users=users, cached_tokens=cached)
        options = PlanOptions(accelerators=accelerators, cache_dtype=setup.cache_dtype)
        return make_plan(setup.spec, setup.hardware, work, options)

    one = planned(1, setup.accelerators)
    _checked(one)
    accelerators = one.fit.deployment.accelerators
    full = planned(max(1, one.fit.most_users), accelerators)
    times, costs = _checked(full)
    return accelerators, times.output_tokens_per_s / output * 3600, costs.usd_per_hour


def _checked(plan: Plan) -> tuple[Times, Costs]:
    if plan.times is None or plan.costs is None:
        why = "; ".join(plan.warnings) or f"No price is known for {plan.hardware.title}."
        raise BadInput(why, "Give --usd-per-hour or --gpus.")
    return plan.times, plan.costs
