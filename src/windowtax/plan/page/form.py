"""What the page asks: the words of `windowtax plan` as fields of a form, read strictly."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite

from windowtax.base.errors import BadInput
from windowtax.base.units import KIB, MIB, parse_tokens
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS
from windowtax.plan.plan import PlanOptions
from windowtax.plan.schemes import CHECKPOINT
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import DEFAULT_OUTPUT_TOKENS, Workload

MOST_CONTEXT_TOKENS = 16 * MIB
_MOST_PREFILL_STEPS = 65_536
"""Above this a plan of a single window takes seconds to compute, and a page must answer at once."""
_MOST_COUNT = 1_000_000
_MOST_USD_PER_HOUR = 10_000.0
_COUNT = re.compile(r"[0-9][0-9,_]*")


@dataclass(frozen=True, kw_only=True)
class Form:
    """One question. Fields are named as the options of `windowtax plan` are.

    gpus: exactly so many accelerators, None for the fewest that hold it. usd_per_hour: None for the catalog's price.
    """

    model: str
    context: int = 128 * KIB
    users: int = 1
    output_tokens: int = DEFAULT_OUTPUT_TOKENS
    cached_tokens: int = 0
    hardware: str = "h100-sxm"
    gpus: int | None = None
    cache_dtype: str = "bf16"
    weights: str = CHECKPOINT
    chunk: int = DEFAULT_CHUNK_TOKENS
    usd_per_hour: float | None = None

    def workload(self) -> Workload:
        """What is asked of the model. Raises BadInput where the numbers do not fit together."""
        return Workload(
            context_tokens=self.context,
            output_tokens=self.output_tokens,
            users=self.users,
            cached_tokens=self.cached_tokens,
        )

    def values(self) -> dict[str, str]:
        """The fields as a person would type them; empty where the default decides."""
        return {name: _typed(name, getattr(self, name)) for name in NAMES}

    def words(self, extra: tuple[str, ...] = ()) -> str:
        """The command line that gives the same plan in a terminal; extra: options that the form has no field for."""
        asked = [(name, text) for name, text in self.values().items() if name != "model" and text]
        plain = Form(model=self.model).values()
        parts = ["windowtax", "plan", self.model, "--context", _typed("context", self.context)]
        for name, text in asked:
            if name != "context" and text != plain[name]:
                parts += [f"--{name.replace('_', '-')}", text]
        return shlex.join([*parts, *extra])


NAMES = tuple(field.name for field in fields(Form))


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the page begins with, and how it turns names into things.

    form: the first question. options: everything about holding the model that the form has no field for. read_spec: a
    model's name to its spec, with whatever the command line lays over it. device: a name and a price to a Hardware.
    models, devices: the names that may be asked for, with their titles; nothing else is ever looked up, so a page
    cannot make the server open files. extra: words of the command line that stay as they were.
    """

    form: Form
    options: PlanOptions
    read_spec: Callable[[str], ModelSpec]
    device: Callable[[str, float | None], Hardware]
    models: Mapping[str, str]
    devices: Mapping[str, str]
    extra: tuple[str, ...] = ()

    def plan_options(self, form: Form) -> PlanOptions:
        """How the model is held, for this form."""
        return replace(
            self.options,
            cache_dtype=form.cache_dtype,
            weights=form.weights,
            accelerators=form.gpus,
            chunk_tokens=form.chunk,
        )

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
        return form


def _typed(name: str, value: str | int | float | None) -> str:
    if value is None:
        return ""
    if name in ("context", "output_tokens", "cached_tokens") and isinstance(value, int):
        return short_tokens(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_tokens(tokens: int) -> str:
    """Tokens as a person types them, always exact: "128K", "1M", "100000"."""
    for unit, letter in ((MIB, "M"), (KIB, "K")):
        if tokens >= unit and tokens % unit == 0:
            return f"{tokens // unit}{letter}"
    return str(tokens)


def _read(name: str, text: str) -> str | int | float | None:
    if name in ("model", "hardware", "cache_dtype", "weights"):
        return text
    if name in ("context", "output_tokens", "chunk"):
        return parse_tokens(text)
    if name == "cached_tokens":
        return 0 if text in ("", "0") else parse_tokens(text)
    if name == "usd_per_hour":
        return _price(text)
    if name == "gpus" and not text:
        return None
    count = int(text.replace(",", "").replace("_", "")) if _COUNT.fullmatch(text) else 0
    if not 1 <= count <= _MOST_COUNT:
        what = "accelerators" if name == "gpus" else name
        raise BadInput(f"{text!r} is not a number of {what}.", f"Write a whole number from 1 to {_MOST_COUNT:,}.")
    return count


def _price(text: str) -> float | None:
    if not text:
        return None
    try:
        price = float(text.removeprefix("$"))
    except ValueError:
        price = -1.0
    if not (isfinite(price) and 0 <= price <= _MOST_USD_PER_HOUR):
        raise BadInput(
            f"{text!r} is not a price per hour.", f"Write dollars, 0 to {_MOST_USD_PER_HOUR:,.0f}, or nothing at all."
        )
    return price
