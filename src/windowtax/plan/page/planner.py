"""From a form to plans: the one asked for, and those around it that the plots draw. All by plan/plan.py, remembered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from windowtax.base.errors import WindowtaxError
from windowtax.base.units import KIB, MIB
from windowtax.plan.api_side import ApiSide, api_side, api_traffic
from windowtax.plan.page.form import MOST_CONTEXT_TOKENS, Form, Start
from windowtax.plan.plan import Plan, make_plan
from windowtax.plan.sweep import at_context, parse_contexts
from windowtax.spec.dtypes import CACHE_DTYPES, CacheDtype, cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

SHORTEST_SWEEP, LONGEST_SWEEP_AT_LEAST = 4 * KIB, MIB
OTHER_DTYPES = ("bf16", "fp8", "int4")
"""Drawn beside the chosen cache dtype, where the model can be held in them."""
_REMEMBERED = 4096


@dataclass(frozen=True)
class UsersCurve:
    """Most users on a fixed deployment against the context: points of (context tokens, users), 0 where none fits."""

    cache_dtype: str
    points: tuple[tuple[int, int], ...]


class Planner:
    """Plans for the forms of one page. What was computed once is kept: sliders go to and fro."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self._read = lru_cache(maxsize=64)(start.read_spec)
        self._device = lru_cache(maxsize=64)(start.device)
        self._kept: dict[tuple[Any, ...], Any] = {}

    def plan(self, form: Form) -> Plan:
        """The plan that the form asks for. Raises what make_plan raises."""
        return self._plan(form, form.workload())

    def api(self, form: Form, plan: Plan) -> ApiSide | None:
        """The same calls at the API that the form names. Raises BadInput, UnknownName."""
        traffic = api_traffic(form.api, form.calls, form.utilisation)
        return api_side(plan, traffic) if traffic else None

    def sweep(self, form: Form) -> tuple[Plan, ...]:
        """Plans of the same form at doubling contexts, to 1M or what the model claims; the asked one among them."""
        claimed = self._spec(form).max_context_tokens
        last = min(MOST_CONTEXT_TOKENS, max(LONGEST_SWEEP_AT_LEAST, claimed, form.context))
        contexts = sorted({*parse_contexts(f"{SHORTEST_SWEEP}..{last}"), form.context})
        workload = form.workload()
        return tuple(self._plan(form, at_context(workload, tokens)) for tokens in contexts)

    def users_curves(self, form: Form, plan: Plan, contexts: Sequence[int]) -> list[UsersCurve]:
        """How many windows the plan's own deployment holds at each context; the chosen cache dtype comes first."""
        names = [name for name in OTHER_DTYPES if name != plan.dtype.name and name in CACHE_DTYPES]
        # The plan's own dtype is taken as it is: it may be one that no registry lists.
        found = [UsersCurve(plan.dtype.name, self._most_users(form, plan, plan.dtype, contexts))]
        for name in names:
            try:
                found.append(UsersCurve(name, self._most_users(form, plan, cache_dtype(name), contexts)))
            except WindowtaxError:
                continue  # This model's kinds cannot be kept in these bits; the chosen ones were planned already.
        return found

    def _most_users(
        self, form: Form, plan: Plan, dtype: CacheDtype, contexts: Sequence[int]
    ) -> tuple[tuple[int, int], ...]:
        deployment = plan.fit.deployment

        def most(tokens: int) -> int:
            # Users and outputs of the workload do not enter the most users; the length does.
            workload = Workload(context_tokens=tokens, output_tokens=1)
            return replace(plan.sizing, workload=workload, dtype=dtype).fit(deployment).most_users

        options = (*_model(form), form.hardware, form.weights, form.chunk, dtype, deployment)
        return tuple(
            (tokens, self._once((tokens, *options), lambda tokens=tokens: most(tokens))) for tokens in contexts
        )

    def _plan(self, form: Form, workload: Workload) -> Plan:
        def make() -> Plan:
            device = self._device(form.hardware, form.usd_per_hour)
            return make_plan(self._spec(form), device, workload, form.options())

        held = replace(form, context=1, users=1, output_tokens=1, cached_tokens=0)
        return self._once((replace(held, api=None, calls=None, utilisation=None), workload), make)

    def _spec(self, form: Form) -> ModelSpec:
        return self._once(_model(form), lambda: form.levered(self._read(form.model)))

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            if len(self._kept) >= _REMEMBERED:
                self._kept.clear()
            self._kept[key] = make()
        return self._kept[key]


def _model(form: Form) -> tuple[Any, ...]:
    """What of the form makes the model."""
    return form.model, form.rope, form.attention, form.drafts
