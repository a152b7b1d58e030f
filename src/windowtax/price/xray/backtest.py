"""The X-ray tried on open weights that are sold with a length tier: what it says, what is true, how far it is off.

Scores are per model, on its first threshold (later ones of the same list are not independent): how often the truth lies
inside a hypothesis' 5 to 95 %, and how many bits it says more about the cache than knowing nothing, which is any size
between that of the smallest and the largest published model, equally likely per factor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from math import exp, log, log2, pi, sqrt
from typing import Any, cast

from windowtax.base.errors import WindowtaxError
from windowtax.base.strict import StrictConfig
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.price.xray.architectures import DTYPES
from windowtax.price.xray.article import article_inference, corrected_inference
from windowtax.price.xray.data import rows
from windowtax.price.xray.findings import SAME_WINDOW, has_threshold
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case, Hypothesis
from windowtax.price.xray.priors import Interval, priors
from windowtax.price.xray.shape import PriceShape, brand, price_shape, shapes
from windowtax.spec.cache import CacheLayout, LayerCache

FP8 = DTYPES[1]
KERNEL_OCTAVES = 0.25
"""Width of the kernel that makes a density of a hypothesis' draws."""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """Open weights with a price list, as of `date`. true_bytes: what a further token keeps in FP8, scales not counted.

    query_width: n_q x d_h x n_full, which prefill attention FLOPs follow from.
    """

    title: str
    shape: PriceShape
    mapping: str
    active_parameters: float
    total_parameters: float
    native_window_tokens: int
    true_bytes: int
    query_width: int
    note: str
    source: str
    date: str

    @property
    def crossover_tokens(self) -> float:
        """L_eq: where the causal attention FLOPs of a prompt equal its matrix FLOPs."""
        return self.active_parameters / self.query_width


@dataclass(frozen=True, kw_only=True)
class BacktestRow:
    """One model at one threshold. inside, miss: by hypothesis; miss is the factor outside the interval, 1 inside."""

    known: KnownModel
    threshold_tokens: int
    first: bool
    article_bytes: float
    corrected_bytes: float
    intervals: Mapping[str, Interval]
    at_window: bool
    shared: bool

    @property
    def article_error(self) -> float:
        """True over the article's b."""
        return self.known.true_bytes / self.article_bytes

    @property
    def corrected_error(self) -> float:
        """True over b with two FLOPs per parameter on an H100 in bf16."""
        return self.known.true_bytes / self.corrected_bytes

    @property
    def crossover_ratio(self) -> float:
        """L_eq over the threshold: 1 where prefill attention predicts it exactly."""
        return self.known.crossover_tokens / self.threshold_tokens


@dataclass(frozen=True, kw_only=True)
class Score:
    """A hypothesis over all first thresholds. bits: mean log2 of its density at the truth over that of knowing nothing.

    predicted: how often it named what it claims (H5: the threshold; others: the cache). supported: whether the
    calibration set allows a likelihood at all: right in at least half of the cases, and worth more than nothing.
    """

    hypothesis: str
    inside: int
    cases: int
    bits: float | None

    @property
    def supported(self) -> bool:
        """Right in at least half, and better than knowing nothing; H5 says nothing of b, so only the first counts."""
        return 2 * self.inside >= self.cases and (self.bits is None or self.bits > 0)

    @property
    def likelihood(self) -> float | None:
        """(k + 1) / (n + 2), the rule of succession; None where the set supports no likelihood."""
        return (self.inside + 1) / (self.cases + 2) if self.supported else None


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """All rows and scores. worst, best: the largest and smallest error of the kink formula in either form."""

    rows: tuple[BacktestRow, ...]
    scores: Mapping[str, Score]

    @property
    def kink_errors(self) -> tuple[float, float]:
        """The smallest and the largest factor by which the kink formula is off, over both of its forms."""
        errors = [error for row in self.rows for error in (row.article_error, row.corrected_error)]
        return min(errors), max(errors)

    @property
    def sellers(self) -> int:
        """Makers behind the rows: models of one maker are not independent witnesses."""
        return len({brand(row.known.shape.key) for row in self.rows})


@cache
def known_models() -> tuple[KnownModel, ...]:
    """The models of catalog/xray/backtest.toml with their lists."""
    return tuple(_known(entry) for entry in rows("backtest", "model"))


def _known(entry: StrictConfig) -> KnownModel:
    geometry = StrictConfig(cast("dict[str, Any]", entry.take("attention", dict)), f"{entry.source} attention")
    layers, heads, kv_heads, dim = (
        geometry.take(key, int) for key in ("layers", "query_heads", "kv_heads", "head_dim")
    )
    geometry.finish()
    layer = LayerCache(FP8.vector_planes("k", kv_heads, dim) + FP8.vector_planes("v", kv_heads, dim))
    layout = CacheLayout.of([layer] * layers)
    name, day = entry.take("catalog", str, ""), entry.take("date", str)
    found = KnownModel(
        title=entry.take("title", str),
        shape=price_shape(entry.take("provider", str), entry.take("model", str), _noon(day)),
        date=day,
        mapping=entry.take("mapping", str),
        active_parameters=entry.take("active_parameters", float),
        total_parameters=entry.take("total_parameters", float),
        native_window_tokens=entry.take("native_window_tokens", int),
        true_bytes=_catalog_growth(name) or layout.growth_bytes_per_token,
        query_width=layers * heads * dim,
        note=entry.take("note", str, ""),
        source=entry.take("source", str),
    )
    entry.finish()
    return found


def _noon(day: str) -> datetime:
    """The back-test looks at the lists of the day they were checked, so that it does not change with the calendar."""
    return datetime.fromisoformat(f"{day}T12:00:00+00:00")


def _catalog_growth(name: str) -> int | None:
    """What the catalog's own spec keeps, or None where it does not have the model (yet)."""
    try:
        return read_model(name).layout(FP8).growth_bytes_per_token if name else None
    except WindowtaxError:
        return None


@cache
def backtest() -> Backtest:
    """Every known model at every threshold of its list, under every hypothesis. The same on every machine."""
    found = tuple(
        _row(known, tier.threshold_tokens, index == 0)
        for known in known_models()
        for index, tier in enumerate(known.shape.tiers)
    )
    return Backtest(rows=found, scores={name: _score(name, entry, found) for name, entry in HYPOTHESES.items()})


def case_of(known: KnownModel, threshold_tokens: int) -> Case:
    """The case as it stands when the weights are open: sizes known, machines and prices guessed."""
    return Case(
        threshold_tokens=threshold_tokens,
        window_tokens=known.shape.window_tokens or known.native_window_tokens,
        known={
            "active_parameters": known.active_parameters,
            "total_parameters": known.total_parameters,
            "cache_number_bytes": 1.0,
        },
    )


def _row(known: KnownModel, threshold: int, first: bool) -> BacktestRow:
    h100 = hardware("h100-sxm")
    intervals = {name: entry.interval_of(_values(name, known, threshold)) for name, entry in HYPOTHESES.items()}
    others = shapes(known.shape.provider, of_brand=brand(known.shape.key), at=_noon(known.date))
    return BacktestRow(
        known=known,
        threshold_tokens=threshold,
        first=first,
        article_bytes=article_inference(threshold, known.active_parameters).cache_bytes,
        corrected_bytes=corrected_inference(
            threshold,
            known.active_parameters,
            h100.peak_flops_per_s["bf16"].value,
            h100.read_bytes_per_s.value,
        ),
        intervals={name: interval for name, interval in intervals.items() if interval is not None},
        at_window=abs(threshold / known.native_window_tokens - 1) <= SAME_WINDOW,
        shared=any(has_threshold(one, threshold) for one in others if one.key != known.shape.key),
    )


def _score(name: str, hypothesis: Hypothesis, found: Sequence[BacktestRow]) -> Score:
    first = [row for row in found if row.first]
    if hypothesis.only_bounds:
        named = sum(row.at_window or row.shared for row in first)
        return Score(hypothesis=name, inside=named, cases=len(first), bits=None)
    inside = sum(row.known.true_bytes in row.intervals[name] for row in first if name in row.intervals)
    bits = [_bits(_values(name, row.known, row.threshold_tokens), row.known.true_bytes) for row in first]
    return Score(hypothesis=name, inside=inside, cases=len(first), bits=sum(bits) / len(bits))


@cache
def _values(name: str, known: KnownModel, threshold: int) -> tuple[float, ...]:
    """All draws of a hypothesis: used for its interval and for its density."""
    return tuple(HYPOTHESES.get(name).cache_bytes(case_of(known, threshold)))


def _bits(values: Sequence[float], true_bytes: int) -> float:
    """log2 of the density of a hypothesis at the truth over the density of knowing nothing, per octave."""
    octaves = [log2(value) for value in values]
    nothing = priors()["cache_of_any_model"]
    ignorance = 1 / log2(nothing.high / nothing.low)
    truth, scale = log2(true_bytes), KERNEL_OCTAVES * sqrt(2 * pi)
    density = sum(exp(-(((truth - value) / KERNEL_OCTAVES) ** 2) / 2) for value in octaves) / len(octaves) / scale
    return log(max(density, 1e-6) / ignorance) / log(2)
