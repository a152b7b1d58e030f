"""What an X-ray assumes, and quantiles that come out the same on every machine.

Unknowns are drawn from a rank-1 lattice (Roberts 2018, the R_d sequence: multiples of the inverse powers of the root of
x^(d+1) = x + 1), not from a random generator: reproducible, and of a smaller error than as many random draws.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log

from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.base.sourced import Basis
from windowtax.catalog.hardware_catalog import hardware
from windowtax.price.xray.data import listed, table, typed_list
from windowtax.spec.hardware import Hardware

DRAWS = 4096
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """One unknown. spread: "log" (equal weight per factor), "linear" (per unit) or "choice" (each of `values`)."""

    name: str
    spread: str
    unit: str
    why: str
    date: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[float, ...] = ()
    basis: Basis = Basis.ASSUMED

    def at(self, share: float) -> float:
        """The value below which `share` (0 <= share < 1) of the weight lies."""
        if self.spread == "choice":
            return self.values[int(share * len(self.values))]
        if self.spread == "log":
            return exp(log(self.low) + share * (log(self.high) - log(self.low)))
        return self.low + share * (self.high - self.low)

    @property
    def span(self) -> str:
        """The range in words: "0.7 to 0.9", "1 or 2"."""
        if self.spread == "choice":
            return " or ".join(f"{value:g}" for value in self.values)
        return f"{_short(self.low)} to {_short(self.high)}, {self.spread}"


@dataclass(frozen=True, kw_only=True)
class Chip:
    """What the hypotheses need of a chip. flops_per_s: by the width of a number in bits, 16 and 8."""

    name: str
    title: str
    flops_per_s: Mapping[int, float]
    read_bytes_per_s: float
    memory_bytes: float
    usable: float
    usd_per_hour: float | None
    source: str

    @property
    def usd_per_byte_hour(self) -> float | None:
        """What holding a byte in its memory for an hour costs, if the whole price is laid on memory."""
        return None if self.usd_per_hour is None else self.usd_per_hour / self.memory_bytes


@cache
def priors() -> dict[str, Prior]:
    """Every stated prior by name. Raises BadInput where one is not usable."""
    found: dict[str, Prior] = {}
    for name, entry in table("priors", "prior").items():
        spread = entry.take("spread", str)
        values = tuple(float(v) for v in typed_list(entry, "values", int)) if "values" in entry else ()
        low, high = entry.take("low", float, 0.0), entry.take("high", float, 0.0)
        if spread not in ("log", "linear", "choice") or (spread == "choice") != bool(values) or low > high:
            raise BadInput(f"{entry.source}: the range does not match the spread {spread!r}.")
        unit, why, date = (entry.take(key, str) for key in ("unit", "why", "date"))
        entry.finish()
        found[name] = Prior(name=name, spread=spread, unit=unit, why=why, date=date, low=low, high=high, values=values)
    return found


@cache
def chips() -> tuple[Chip, ...]:
    """The chips a seller may run, in the order of priors.toml."""
    found = [_catalog_chip(hardware(name)) for name in listed("priors", "chips", "catalog")]
    for name, entry in table("priors", "chips").items():
        found.append(
            Chip(
                name=name,
                title=entry.take("title", str),
                flops_per_s={
                    16: entry.take("bf16_flops_per_s", float),
                    8: entry.take("int8_flops_per_s", float),
                },
                read_bytes_per_s=entry.take("read_bytes_per_s", float),
                memory_bytes=entry.take("memory_bytes", float),
                usable=entry.take("usable", float),
                usd_per_hour=None,
                source=f"{entry.take('source', str)}, {entry.take('date', str)}",
            )
        )
        entry.finish()
    return tuple(found)


def _catalog_chip(device: Hardware) -> Chip:
    peak = device.peak_flops_per_s
    return Chip(
        name=device.name,
        title=device.title,
        flops_per_s={16: peak["bf16"].value, 8: max(peak[name].value for name in ("int8", "fp8") if name in peak)},
        read_bytes_per_s=device.read_bytes_per_s.value,
        memory_bytes=device.memory_bytes.value,
        usable=device.usable_memory.value,
        usd_per_hour=device.usd_per_hour.value if device.usd_per_hour else None,
        source=device.read_bytes_per_s.source,
    )


@dataclass(frozen=True)
class Draw:
    """One joint guess at everything a hypothesis asks about."""

    values: Mapping[str, float]
    chip: Chip

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @property
    def flops_per_s(self) -> float:
        """Peak FLOP/s at the guessed width of numbers."""
        return self.chip.flops_per_s[int(self.values["number_bits"])]


def draws(names: Sequence[str], fixed: Mapping[str, float] | None = None, count: int = DRAWS) -> Iterator[Draw]:
    """`count` joint guesses at the named priors and the chip. fixed: what is known and not guessed."""
    known = dict(fixed or {})
    open_priors = [priors()[name] for name in names if name not in known]
    steps = _lattice(len(open_priors) + 1)
    devices = chips()
    for index in range(count):
        shares = [(0.5 + step * index) % 1.0 for step in steps]
        values = {prior.name: prior.at(share) for prior, share in zip(open_priors, shares[1:], strict=True)}
        yield Draw(values | known, devices[int(shares[0] * len(devices))])


def _lattice(dimensions: int) -> list[float]:
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dimensions + 1))
    return [root ** -(index + 1) % 1.0 for index in range(dimensions)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value at that share of sorted values, interpolated. Raises WindowtaxError for no values."""
    if not ordered:
        raise WindowtaxError("There is nothing to take a quantile of.")
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@dataclass(frozen=True, slots=True)
class Interval:
    """5 %, 50 % and 95 % of what the priors allow. low is 0 and median None where there is only an upper bound."""

    low: float
    median: float | None
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """The quantiles of unsorted values."""
        ordered = sorted(values)
        low, median, high = (quantile(ordered, share) for share in QUANTILES)
        return cls(low, median, high)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def miss(self, value: float) -> float:
        """The factor by which a value lies outside: 1 inside, 3 where it is three times over or under the edge."""
        if value > self.high:
            return value / self.high
        return self.low / value if value < self.low else 1.0


def _short(value: float) -> str:
    return f"{value / 1e9:g} billion" if value >= 1e9 else f"{value:g}"
