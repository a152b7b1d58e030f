"""The API's side of a plan for people: a section of rows, and the steps of its derivation."""

import math

from windowtax.base.units import format_usd
from windowtax.plan.api_side import ApiSide
from windowtax.plan.report import DERIVED, Row, Section
from windowtax.plan.steps import Step
from windowtax.price.own import HOURS_PER_MONTH

GIVEN, DATED = "assumed", "datasheet"


def api_section(side: ApiSide) -> Section:
    """The month on both sides. Rows that nothing is known for say so."""
    bill = side.bill
    parts = f"prompt {format_usd(float(bill.input_usd))}, output {format_usd(float(bill.output_usd))}"
    rows = [
        Row("one call there", format_usd(side.call_usd), parts, DERIVED),
        Row("calls a month", count(side.calls_per_month), whose_calls(side), GIVEN),
        Row("a month there", money(side.month_usd), "the same tokens; another model", DERIVED),
        Row("a month here", money(side.own_month_usd), own_note(side), DERIVED),
        Row("owning wins from", wins_from(side), wins_note(side), DERIVED),
        Row("prices of", f"{bill.at:%Y-%m-%d}" if bill.at else "-", bill.source, DATED),
    ]
    return Section(f"The same calls at {side.name}", tuple(rows))


def count(calls: float | None) -> str:
    """Calls, whole."""
    return "-" if calls is None else f"{calls:,.0f}"


def money(usd: float | None) -> str:
    """Dollars, a dash where they are not known."""
    return "-" if usd is None else format_usd(usd)


def whose_calls(side: ApiSide) -> str:
    """Where the number of calls comes from."""
    if side.given:
        return "as asked for"
    share = f"{side.traffic.utilisation:.0%} of the month"
    return f"the users, each asking again at once, {share}" if side.calls_per_month else "nobody's: give --calls"


def own_note(side: ApiSide) -> str:
    """What stands here for that month."""
    if side.machines is None or side.groups is None:
        return side.missing
    several = f"{side.groups:,} deployments" if side.groups > 1 else "this deployment"
    return f"{several}, {format_usd(side.machines.usd_per_hour)}/h each, busy or not"


def wins_from(side: ApiSide) -> str:
    """Calls a month at which owning wins first."""
    found = side.crossing
    return "never" if found is None and side.machines else count(found.first_calls if found else None)


def wins_note(side: ApiSide) -> str:
    """From where on it wins for good, or why it never does."""
    found, machines = side.crossing, side.machines
    if machines is None:
        return side.missing
    if found is None:
        return f"a call costs {format_usd(machines.full_call_usd)} here even when full"
    full = f"one deployment does {machines.month_calls:,.0f}"
    if found.always_calls == found.first_calls:
        return f"calls a month, for good; {full}"
    good = "never for good" if math.isinf(found.always_calls) else f"for good from {found.always_calls:,.0f}"
    return f"calls a month, {good}; {full}"


def api_steps(side: ApiSide) -> tuple[Step, ...]:
    """The derivation of the API's side. Formulas as price/own.py computes them."""
    bill, calls, machines = side.bill, side.calls_per_month, side.machines
    fresh = bill.prompt_tokens - bill.cached_tokens
    steps = [
        Step(
            "one call at the API",
            "(fresh x input + cached x cache read + output x output) / 1,000,000",
            f"({fresh:,} x {bill.usd_per_mtok_input} + {bill.cached_tokens:,} x "
            f"{bill.usd_per_mtok_cached or bill.usd_per_mtok_input} + "
            f"{bill.output_tokens:,} x {bill.usd_per_mtok_output}) / 1,000,000",
            format_usd(side.call_usd),
            DERIVED,
            bill.source,
        )
    ]
    if calls is not None and side.month_usd is not None:
        numbers = f"{calls:,.0f} x {format_usd(side.call_usd)}"
        steps.append(
            Step("a month at the API", "calls x one call", numbers, money(side.month_usd), DERIVED, whose_calls(side))
        )
    if machines is not None:
        hour, share = format_usd(machines.usd_per_hour), machines.utilisation
        formula = f"ceil(calls / calls of one deployment) x rent x {HOURS_PER_MONTH} h"
        numbers = f"{side.groups or 1:,} x {hour}/h x {HOURS_PER_MONTH} h"
        source = f"one deployment: {machines.calls_per_hour:,.1f} calls/h x {HOURS_PER_MONTH} h x {share:.0%} (assumed)"
        steps.append(Step("a month here", formula, numbers, money(side.own_month_usd), DERIVED, source))
        formula = f"rent x {HOURS_PER_MONTH} h / one call at the API"
        numbers = f"{hour}/h x {HOURS_PER_MONTH} h / {format_usd(side.call_usd)}"
        steps.append(Step("owning wins from", formula, numbers, wins_from(side), DERIVED, wins_note(side)))
    return tuple(steps)
