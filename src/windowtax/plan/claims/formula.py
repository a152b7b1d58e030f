"""Named formulas: what a claim's value is computed by. A formula asks the ledger, the catalogs or the price lists."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from windowtax.base.errors import BadInput, UnknownName
from windowtax.base.sourced import Basis

Value = str | float | bool
Inputs = Mapping[str, Value]

_MODULES = ("of_cache", "of_time", "of_machines", "of_prices", "of_pricing_pages", "of_numbers")


@dataclass(frozen=True)
class Formula:
    """A function with a name.

    unit: what it returns ("B", "s", "USD", "tokens", "FLOP", "USD/h", or "" for a plain number). says: the formula in
    words and signs, for people. basis: what sort of figure it gives.
    """

    name: str
    unit: str
    says: str
    basis: Basis
    compute: Callable[..., float]

    def value(self, inputs: Inputs) -> float:
        """Its value. Raises BadInput for inputs that it does not take."""
        try:
            return float(self.compute(**inputs))
        except TypeError as error:
            raise BadInput(f"The formula {self.name} cannot be computed from {dict(inputs)}: {error}.") from error

    def shown(self, inputs: Inputs) -> str:
        """The formula and what it was given: "cache_total (model llama-3-70b, context 131072)"."""
        given = ", ".join(f"{key} {_plain(value)}" for key, value in inputs.items())
        return f"{self.name} ({given})" if given else self.name


_FORMULAS: dict[str, Formula] = {}


def formula(
    unit: str, says: str, basis: Basis = Basis.DERIVED
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Decorator: files a function as a formula under its own name."""

    def add(compute: Callable[..., float]) -> Callable[..., float]:
        name = compute.__name__
        if name in _FORMULAS:
            raise RuntimeError(f"the formula {name!r} is there twice")
        _FORMULAS[name] = Formula(name, unit, says, basis, compute)
        return compute

    return add


@cache
def formulas() -> Mapping[str, Formula]:
    """All formulas by name."""
    for module in _MODULES:
        importlib.import_module(f"windowtax.plan.claims.{module}")
    return _FORMULAS


def find_formula(name: str) -> Formula:
    """The formula of that name. Raises UnknownName."""
    if name not in formulas():
        raise UnknownName(f"There is no formula called {name!r}.", f"There are: {', '.join(sorted(formulas()))}.")
    return formulas()[name]


def _plain(value: Value) -> str:
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
