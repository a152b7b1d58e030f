"""What the page asks: the words of `windowtax plan` as fields of a form, read strictly."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite

from windowtax.base.errors import BadInput
from windowtax.base.units import KIB, MIB, parse_tokens
from windowtax.plan.axes import short_tokens
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS
from windowtax.plan.plan import PlanOptions
from windowtax.plan.schemes import CHECKPOINT
from windowtax.plan.words import levered, plan_options
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import DEFAULT_OUTPUT_TOKENS, Workload

MOST_CONTEXT_TOKENS = 16 * MIB
_MOST_PREFILL_STEPS = 65_536
"""Above this a plan of a single window takes seconds to compute, and a page must answer at once."""
_MOST_COUNT = 1_000_000
_MOST_USD_PER_HOUR = 10_000.0
_MOST_CALLS = 1e12
_COUNT = re.compile(r"[0-9][0-9,_]*")


@dataclass(frozen=True, kw_only=True)
class Form:
    """One question. Fields are named as the options of `windowtax plan` are.

    gpus: exactly so many accelerators, None for the fewest that hold it. usd_per_hour: None for the catalog's price.
    rope, attention, parallel, slo_ttft, slo_tpot: the option's own words, None where it is not given. api: a price list
    as PROVIDER/MODEL. calls: a month, None for what the users ask. utilisation: None for the default.
    """

    model: str
    context: int = 128 * KIB
    users: int = 1
    output_tokens: int = DEFAULT_OUTPUT_TOKENS
    cached_tokens: int = 0
    hardware: str = "h100-sxm"
    gpus: int | None = None
    cache_dtype: str = CHECKPOINT
    weights: str = CHECKPOINT
    chunk: int = DEFAULT_CHUNK_TOKENS
    usd_per_hour: float | None = None
    rope: str | None = None
    attention: str | None = None
    drafts: bool = False
    parallel: str | None = None
    slo_ttft: str | None = None
    slo_tpot: str | None = None
    api: str | None = None
    calls: float | None = None
    utilisation: float | None = None

    def workload(self) -> Workload:
        """What is asked of the model. Raises BadInput where the numbers do not fit together."""
        return Workload(
            context_tokens=self.context,
            output_tokens=self.output_tokens,
            users=self.users,
            cached_tokens=self.cached_tokens,
        )

    def options(self) -> PlanOptions:
        """How the model is held. Raises BadInput."""
        return plan_options(
            cache_dtype=self.cache_dtype,
            weights=self.weights,
            gpus=self.gpus,
            chunk=self.chunk,
            parallel=self.parallel,
            slo_ttft=self.slo_ttft,
            slo_tpot=self.slo_tpot,
        )

    def levered(self, spec: ModelSpec) -> ModelSpec:
        """The model with the levers of this question. Raises BadInput, UnsupportedModel."""
        return levered(spec, rope=self.rope, attention=self.attention, drafts=self.drafts)

    def values(self) -> dict[str, str]:
        """The fields as a person would type them; empty where the default decides."""
        return {name: _typed(name, getattr(self, name)) for name in NAMES}

    def words(self) -> str:
        """The command line that gives the same plan in a terminal."""
        parts = ["windowtax", "plan", self.model, "--context", _typed("context", self.context)]
        plain = Form(model=self.model, context=self.context).values()
        for name, text in self.values().items():
            if text and text != plain[name]:
                parts += [f"--{name.replace('_', '-')}", *([] if name in FLAGS else [text])]
        return shlex.join(parts)


NAMES = tuple(field.name for field in fields(Form))
FLAGS = {"drafts"}
YES = "yes"
"""What a flag's field holds where it is set; empty where it is not."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the page begins with, and how it turns names into things.

    form: the first question. read_spec: a model's name to its spec. device: a name and a price to a Hardware. models,
    devices: the names that may be asked for, with their titles; nothing else is ever looked up, so a page cannot make
    the server open files. Price lists are looked up among those that were shipped.
    """

    form: Form
    read_spec: Callable[[str], ModelSpec]
    device: Callable[[str, float | None], Hardware]
    models: Mapping[str, str]
    devices: Mapping[str, str]

    def read(self, typed: Mapping[str, str]) -> Form:
        """The form that was filled in; fields that are missing are as they were at the start. Raises BadInput."""
        unknown = sorted(set(typed) - set(NAMES))
        if unknown:
            raise BadInput(f"There is no field called {unknown[0]!r}.", f"There are: {', '.join(NAMES)}.")
        form = replace(self.form, **{name: _read(name, text.strip()) for name, text in typed.items()})
        for what, name, known in (("model", form.model, self.models), ("hardware", form.hardware, self.devices)):
            if name not in known:
                raise BadInput(f"This page has no {what} called {name!r}.", f"Choose one of the {len(known)} listed.")
        if form.context > MOST_CONTEXT_TOKENS:
            raise BadInput(
                f"{form.context:,} tokens are more than this page draws.", f"The most is {MOST_CONTEXT_TOKENS:,} (16M)."
            )
        if form.context > form.chunk * _MOST_PREFILL_STEPS:
            raise BadInput(
                f"{form.context:,} tokens in chunks of {form.chunk:,} are more than {_MOST_PREFILL_STEPS:,} steps.",
                "Take longer chunks.",
            )
        form.workload()
        # The sliders of an API stand somewhere also while no list is named.
        return form if form.api else replace(form, calls=None, utilisation=None)


def _typed(name: str, value: str | int | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return YES if value else ""
    if name in ("context", "output_tokens", "cached_tokens") and isinstance(value, int):
        return short_tokens(value)
    return short_number(value) if isinstance(value, float) else str(value)


def short_number(value: float) -> str:
    """A number as a person types it, exact: "2500000", "0.25"."""
    return str(int(value)) if value.is_integer() else repr(value)


def _read(name: str, text: str) -> str | int | float | bool | None:
    if name in ("model", "hardware", "cache_dtype", "weights"):
        return text
    if name in ("context", "output_tokens", "chunk"):
        return parse_tokens(text)
    if name == "cached_tokens":
        return 0 if text in ("", "0") else parse_tokens(text)
    if name in ("rope", "attention", "parallel", "slo_ttft", "slo_tpot", "api"):
        return text or None
    if name in FLAGS:
        return _flag(name, text)
    if name in _NUMBERS:
        return _number(text, *_NUMBERS[name])
    return None if name == "gpus" and not text else _count(name, text)


def _flag(name: str, text: str) -> bool:
    if text not in ("", YES):
        raise BadInput(f"{text!r} is no answer to {name}.", f"Write {YES}, or nothing at all.")
    return text == YES


def _count(name: str, text: str) -> int:
    count = int(text.replace(",", "").replace("_", "")) if _COUNT.fullmatch(text) else 0
    if not 1 <= count <= _MOST_COUNT:
        what = "accelerators" if name == "gpus" else name
        raise BadInput(f"{text!r} is not a number of {what}.", f"Write a whole number from 1 to {_MOST_COUNT:,}.")
    return count


_NUMBERS = {
    "usd_per_hour": ("a price per hour", _MOST_USD_PER_HOUR, f"Write dollars, 0 to {_MOST_USD_PER_HOUR:,.0f}"),
    "calls": ("a number of calls a month", _MOST_CALLS, f"Write a number up to {_MOST_CALLS:,.0f}"),
    "utilisation": ("a share of the month", 1.0, "Write a share above 0 and at most 1, such as 0.5"),
}
"""What each field of a number is, its largest value, and what to write."""


def _number(text: str, what: str, most: float, hint: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text.removeprefix("$").replace(",", ""))
    except ValueError:
        number = -1.0
    if not (isfinite(number) and 0 <= number <= most):
        raise BadInput(f"{text!r} is not {what}.", f"{hint}, or nothing at all.")
    return number
