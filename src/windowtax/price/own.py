"""What a call costs on machines of one's own: machine seconds times the price of a machine second."""

import math
from dataclasses import dataclass

from windowtax.base.errors import BadInput

SECONDS_PER_HOUR = 3600
HOURS_PER_MONTH = 730
"""The month of cloud price lists: 365 * 24 / 12 h."""
MTOK = 1_000_000


@dataclass(frozen=True, kw_only=True)
class OwnBill:
    """Dollars of one call, its prompt's and its output's part, and what that is per million tokens."""

    prompt_usd: float
    output_usd: float
    usd_per_mtok_prompt: float
    usd_per_mtok_output: float

    @property
    def total_usd(self) -> float:
        """Dollars of the call."""
        return self.prompt_usd + self.output_usd


def own_bill(
    usd_per_hour: float,
    *,
    prefill_s: float,
    decode_s: float,
    prompt_tokens: int,
    output_tokens: int,
    sharers: int = 1,
) -> OwnBill:
    """The bill of one call on machines that cost `usd_per_hour` together.

    A prefill has the machines for itself for `prefill_s`. A decode of `decode_s` shares every step with `sharers`
    sequences, itself included, and pays its share. Waiting machines are not on this bill. Raises BadInput.
    """
    if sharers < 1 or usd_per_hour < 0:
        raise BadInput(f"{sharers} sharers at {usd_per_hour:g} USD per hour make no sense.")
    second = usd_per_hour / SECONDS_PER_HOUR
    prompt_usd, output_usd = prefill_s * second, decode_s / sharers * second
    return OwnBill(
        prompt_usd=prompt_usd,
        output_usd=output_usd,
        usd_per_mtok_prompt=prompt_usd / prompt_tokens * MTOK if prompt_tokens else 0.0,
        usd_per_mtok_output=output_usd / output_tokens * MTOK if output_tokens else 0.0,
    )


def usd_for_seconds(usd_per_hour: float, seconds: float) -> float:
    """What having a machine for so many seconds costs, busy or not."""
    return usd_per_hour / SECONDS_PER_HOUR * seconds


@dataclass(frozen=True, kw_only=True)
class OwnMachines:
    """A group of machines that serves one model: its rent and how many calls it does an hour when always busy.

    utilisation: the share of the month it can be kept busy (assumed: traffic is not level). Raises BadInput.
    """

    usd_per_hour: float
    calls_per_hour: float
    utilisation: float = 1.0

    def __post_init__(self) -> None:
        if self.usd_per_hour < 0 or self.calls_per_hour <= 0 or not 0 < self.utilisation <= 1:
            raise BadInput(
                f"Machines at {self.usd_per_hour:g} USD per hour, {self.calls_per_hour:g} calls an hour and "
                f"{self.utilisation:g} utilisation make no sense.",
                "Utilisation is a share above 0 and at most 1.",
            )

    @property
    def month_usd(self) -> float:
        """Dollars of one group for a month, busy or not."""
        return self.usd_per_hour * HOURS_PER_MONTH

    @property
    def month_calls(self) -> float:
        """Calls that one group does in a month."""
        return self.calls_per_hour * HOURS_PER_MONTH * self.utilisation

    @property
    def full_call_usd(self) -> float:
        """Dollars of a call where every group is full: the least that owning can cost."""
        return self.month_usd / self.month_calls

    def groups(self, calls: float) -> int:
        """Groups that so many calls a month take; at least one stands there."""
        return max(1, math.ceil(calls / self.month_calls - 1e-9))

    def usd(self, calls: float) -> float:
        """Dollars of a month with so many calls."""
        return self.groups(calls) * self.month_usd


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Calls a month at which owning wins over an API: for the first time, and from where on without a gap."""

    first_calls: float
    always_calls: float


def crossing(machines: OwnMachines, api_usd_per_call: float) -> Crossing | None:
    """Where owning wins; None where a full group still costs more per call than the API.

    n groups cost n C and hold n K calls, the API a x. The first win is at x = C / a. Each further group opens a gap
    (a new one is paid whole) until a n K >= (n + 1) C, which is n >= C / (a K - C).
    """
    per_group, capacity = machines.month_usd, machines.month_calls
    surplus = api_usd_per_call * capacity - per_group
    if surplus < 0 or api_usd_per_call <= 0:
        return None
    first = per_group / api_usd_per_call
    if surplus == 0:
        return Crossing(first_calls=first, always_calls=math.inf)
    full = math.ceil(per_group / surplus - 1e-9)
    return Crossing(first_calls=first, always_calls=first * full)
