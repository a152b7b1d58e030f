"""What a kept prefix is worth: what computing it again would take, and what keeping it costs."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from windowtax.base.errors import UnknownName, WindowtaxError
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.catalog.machine import THIS_MACHINE
from windowtax.catalog.read import read_model
from windowtax.plan.plan import Plan, PlanOptions, make_plan
from windowtax.price.own_lists import MemoryTier, memory_tiers
from windowtax.price.tiers import Recompute
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

GB = 1e9
HOURS_PER_MONTH = 730


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of some bytes that stand for some tokens. recompute_s, recompute_usd, keep_hours: None where nobody can say."""

    recompute_s: float | None
    recompute_usd: float | None
    hold_usd_per_month: float
    keep_hours: float | None


class Costs:
    """Costs of prefixes of one model, as its form tells it. why_unknown: why nothing is said about computing again."""

    def __init__(self, form: dict[str, Any], hardware: str = THIS_MACHINE) -> None:
        self.form = form
        self.hardware = hardware
        self.why_unknown: str | None = None
        self._seconds: dict[int, float | None] = {0: 0.0}
        self._usd_per_hour: float | None = None

    @cached_property
    def ssd(self) -> MemoryTier:
        """The rent that is reckoned with."""
        return memory_tiers()["ssd"]

    def of(self, first_token: int, num_tokens: int, num_bytes: int) -> Cost:
        """Of tokens first_token ... first_token + num_tokens - 1 of a prompt, kept in so many bytes."""
        hold_usd_per_hour = num_bytes / GB * self.ssd.usd_per_gb_hour.value
        before, behind = self._prefill_s(first_token), self._prefill_s(first_token + num_tokens)
        seconds = None if before is None or behind is None else behind - before
        usd = None
        if seconds is not None and self._usd_per_hour is not None:
            usd = Recompute(seconds=seconds, usd_per_hour=self._usd_per_hour).usd
        return Cost(
            recompute_s=seconds,
            recompute_usd=usd,
            hold_usd_per_month=hold_usd_per_hour * HOURS_PER_MONTH,
            keep_hours=None if usd is None or not hold_usd_per_hour else usd / hold_usd_per_hour,
        )

    def _prefill_s(self, num_tokens: int) -> float | None:
        if num_tokens not in self._seconds:
            made = None if self.why_unknown else self._plan(num_tokens)
            seconds = None if made is None or made.times is None else made.times.ttft.overlap_s
            if made is not None and made.times is None:
                self.why_unknown = "; ".join(made.warnings) or f"it does not fit on {self.hardware}"
            if made is not None and made.costs is not None:
                self._usd_per_hour = made.costs.usd_per_hour
            self._seconds[num_tokens] = seconds
        return self._seconds[num_tokens]

    def _plan(self, num_tokens: int) -> Plan | None:
        options = PlanOptions(
            cache_dtype=str(self.form.get("cache_dtype", "checkpoint")),
            weights=str(self.form.get("plan_weights", "checkpoint")),
        )
        try:
            workload = Workload(context_tokens=num_tokens + 1, output_tokens=1)
            return make_plan(self._spec(), find_hardware(self.hardware), workload, options)
        except WindowtaxError as error:
            self.why_unknown = str(error)
            return None

    def _spec(self) -> ModelSpec:
        """By its files, or where these are gone, by its name. Raises UnknownName, BadInput, UnsupportedModel."""
        source, model = self.form.get("source"), self.form.get("model")
        if source and Path(str(source)).exists():
            return read_model(str(source))
        if not model:
            raise UnknownName("The folder does not say of which model these are.")
        return read_model(str(model))
