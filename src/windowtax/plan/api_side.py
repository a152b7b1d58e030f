"""The plan's traffic at an API's price list, beside the plan's own machines: dollars a month, and where owning wins."""

import math
from dataclasses import dataclass
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.plan.plan import Plan
from windowtax.price.api import ApiBill, bill_of
from windowtax.price.lists import PriceList, price_sheet
from windowtax.price.own import HOURS_PER_MONTH, SECONDS_PER_HOUR, Crossing, OwnMachines, crossing
from windowtax.price.sheet import PriceSheet, Usage
from windowtax.spec.workload import Workload

DEFAULT_UTILISATION = 0.5
"""Share of a month that machines are busy where nobody says it: an assumption, as in `windowtax price retrieval`."""


@dataclass(frozen=True, kw_only=True)
class ApiTraffic:
    """An API's price list, and how much is asked of it.

    calls_per_month: None for what the plan's own users ask, each again as soon as answered, for the busy share of the
    month. utilisation: that share. Raises BadInput.
    """

    sheet: PriceSheet
    calls_per_month: float | None = None
    utilisation: float = DEFAULT_UTILISATION

    def __post_init__(self) -> None:
        if self.calls_per_month is not None and not (math.isfinite(self.calls_per_month) and self.calls_per_month > 0):
            raise BadInput(f"{self.calls_per_month:g} calls a month make no sense.", "Give --calls a number above 0.")
        if not 0 < self.utilisation <= 1:
            raise BadInput(
                f"{self.utilisation:g} is no share of a month that machines are busy.",
                "Give --utilisation a share above 0 and at most 1, such as 0.5.",
            )


@dataclass(frozen=True, kw_only=True)
class ApiSide:
    """Both sides of a month. bill: one call at the API. machines: one deployment of the plan, or why there is none.

    calls_per_month: None where nobody gave it and nothing fits here.
    """

    traffic: ApiTraffic
    bill: ApiBill
    calls_per_month: float | None
    machines: OwnMachines | None
    missing: str = ""

    @property
    def given(self) -> bool:
        """Whether the calls are the caller's own number."""
        return self.traffic.calls_per_month is not None

    @property
    def name(self) -> str:
        """The price list, as it is named."""
        return f"{self.bill.provider}/{self.bill.model}"

    @property
    def notes(self) -> list[str]:
        """What must be known before believing the API's side."""
        bill = self.bill
        said = [bill.tier] if bill.tier else []
        said += bill.guard.sentences() if bill.tier and bill.guard else []
        if bill.cached_tokens:
            said.append("cached tokens are only read: what writing them cost is not in this")
        return [*said, *bill.notes]

    @property
    def call_usd(self) -> float:
        """Dollars of one call at the API."""
        return float(self.bill.total_usd)

    @property
    def month_usd(self) -> float | None:
        """Dollars of the month at the API."""
        return None if self.calls_per_month is None else self.api_usd(self.calls_per_month)

    @property
    def own_month_usd(self) -> float | None:
        """Dollars of the month on own machines, busy or not."""
        if self.machines is None or self.calls_per_month is None:
            return None
        return self.machines.usd(self.calls_per_month)

    @property
    def groups(self) -> int | None:
        """Deployments of the plan that the calls take."""
        if self.machines is None or self.calls_per_month is None:
            return None
        return self.machines.groups(self.calls_per_month)

    @property
    def crossing(self) -> Crossing | None:
        """Where owning wins, None where it never does."""
        return None if self.machines is None else crossing(self.machines, self.call_usd)

    def api_usd(self, calls: float) -> float:
        """Dollars of so many calls at the API."""
        return self.call_usd * calls

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, as docs/reference/plan-json.md has them."""
        found, always = self.crossing, self.crossing.always_calls if self.crossing else math.inf
        return {
            "provider": self.bill.provider,
            "model": self.bill.model,
            "usd_per_call": self.call_usd,
            "usd_per_call_prompt": float(self.bill.input_usd),
            "usd_per_call_output": float(self.bill.output_usd),
            "calls_per_month": self.calls_per_month,
            "utilisation": self.traffic.utilisation,
            "usd_per_month": self.month_usd,
            "own_usd_per_month": self.own_month_usd,
            "own_deployments": self.groups,
            "own_calls_per_month": self.machines.month_calls if self.machines else None,
            "own_wins_first_calls": found.first_calls if found else None,
            "own_wins_always_calls": always if math.isfinite(always) else None,
            "tier": self.bill.tier,
            "source": self.bill.source,
            "notes": self.notes,
        }


def api_traffic(name: str | None, calls: float | None = None, utilisation: float | None = None) -> ApiTraffic | None:
    """From PROVIDER/MODEL, at today's prices; None where no list is named. Raises BadInput, UnknownName.

    calls, utilisation: None takes the defaults.
    """
    if name is None:
        if calls is not None or utilisation is not None:
            raise BadInput(
                "--calls and --utilisation belong to --api, which is not there.", "Add --api PROVIDER/MODEL."
            )
        return None
    entry = PriceList.parse(name)
    sheet = price_sheet(entry.provider, entry.model)
    busy = DEFAULT_UTILISATION if utilisation is None else utilisation
    return ApiTraffic(sheet=sheet, calls_per_month=calls, utilisation=busy)


def api_side(plan: Plan, traffic: ApiTraffic) -> ApiSide:
    """The same calls at the API and on the plan's machines. Raises BadInput as the list's prices do."""
    machines = _machines(plan, traffic.utilisation)
    return ApiSide(
        traffic=traffic,
        bill=call_bill(traffic.sheet, plan.workload),
        calls_per_month=traffic.calls_per_month or _asked(plan, traffic.utilisation),
        machines=None if isinstance(machines, str) else machines,
        missing=machines if isinstance(machines, str) else "",
    )


def call_bill(sheet: PriceSheet, workload: Workload) -> ApiBill:
    """One call of the workload at the list: what a prefix cache holds here, the seller's holds there."""
    usage = Usage(
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        cached_tokens=workload.cached_tokens,
    )
    return bill_of(sheet, usage)


def _asked(plan: Plan, utilisation: float) -> float | None:
    """Calls a month of all users, each asking again as soon as answered."""
    point = plan.point
    if point is None:
        return None
    rate = point.requests_per_s / point.users * plan.workload.users
    return rate * SECONDS_PER_HOUR * HOURS_PER_MONTH * utilisation


def _machines(plan: Plan, utilisation: float) -> OwnMachines | str:
    """One deployment at the users that it serves most calls with, of those who get what is promised; or why none."""
    load, costs, replicas = plan.load, plan.costs, plan.fit.deployment.replicas
    if load is None or not plan.fit.fits:
        return "it does not fit here"
    if costs is None:
        return "no price of this hardware is known: give --usd-per-hour"
    points = [load.most_users_within(plan.slo)] if plan.slo else load.curve()
    rates = [point.requests_per_s for point in points if point is not None]
    if not rates:
        return "the promise is not kept here"
    rate = max(rates) * replicas * SECONDS_PER_HOUR
    return OwnMachines(usd_per_hour=costs.usd_per_hour, calls_per_hour=rate, utilisation=utilisation)
