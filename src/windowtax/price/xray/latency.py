"""KV bytes per token from latency: the slope of ITL against context is the cache a further token adds to a step.

One decode step reads weights and cache: ITL(L) = c + W / (eta BW) + B L b / (eta BW). So b = slope x eta BW / B and
W = (intercept - c) x eta BW. Checked on vLLM's published fits (catalog/xray/latency.toml). Unlike a price, this is
a measurement: what is unknown is eta and the constant c of a step, and both are carried as an interval.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from statistics import median

from windowtax.base.errors import BadInput
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.price.xray.data import rows
from windowtax.price.xray.priors import Interval, draws, quantile
from windowtax.spec.hardware import Hardware

HEADER = ("context_tokens", "itl_ms")
FEWEST_POINTS, MOST_POINTS = 3, 2000
NORMAL_95 = 1.959964
"""Two-sided 95 % of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: tokens of context, and seconds between two tokens at that length."""

    context_tokens: float
    itl_s: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """A robust line. slope, low_slope, high_slope: s per token, 95 %. intercept: s. spread: worst residual, s."""

    slope: float
    low_slope: float
    high_slope: float
    intercept: float
    spread: float
    points: int


@dataclass(frozen=True, kw_only=True)
class LatencyXRay:
    """What a line says on given hardware. cache_bytes, weight_bytes: 5, 50, 95 % in B (per token; per step)."""

    line: Line
    hardware: Hardware
    accelerators: int
    batch: int
    cache_bytes: Interval
    weight_bytes: Interval
    warnings: tuple[str, ...]


def read_points(path: Path) -> tuple[Point, ...]:
    """Points of a CSV file with the header context_tokens,itl_ms. Raises BadInput naming the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput(
            f"{path} cannot be read: {why}.", "Give a CSV file with the header context_tokens,itl_ms."
        ) from error
    reader = csv.DictReader(text.splitlines())
    names = [name.strip() for name in reader.fieldnames or []]
    if not set(HEADER) <= set(names):
        raise BadInput(
            f"{path}: the header is {','.join(names) or 'missing'}.", "The first line must be context_tokens,itl_ms."
        )
    reader.fieldnames = names
    found: list[Point] = []
    for row in reader:
        try:
            point = Point(float(row["context_tokens"]), float(row["itl_ms"]) / 1e3)
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"{path}, line {reader.line_num}: {row['context_tokens']!r},{row['itl_ms']!r} are not two numbers."
            ) from error
        if not 0 <= point.context_tokens < 1e12 or not 0 < point.itl_s < 1e6:
            raise BadInput(f"{path}, line {reader.line_num}: a context of {row['context_tokens']} and an ITL of "
                           f"{row['itl_ms']} ms make no sense.")  # fmt: skip
        found.append(point)
    return tuple(found)


def fit_line(points: Sequence[Point]) -> Line:
    """Theil-Sen: the median of all pairwise slopes, and the median intercept; outliers of up to 29 % do not move it.

    The interval of the slope is Sen's (1968, J. Am. Stat. Assoc. 63): order statistics of the pairwise slopes at ranks
    given by the variance n (n - 1) (2 n + 5) / 18 of Kendall's statistic. Raises BadInput on too few or too many.
    """
    lengths = {point.context_tokens for point in points}
    if len(lengths) < FEWEST_POINTS:
        raise BadInput(
            f"{len(lengths)} different context lengths are too few for a line.",
            f"Measure at least {FEWEST_POINTS} lengths, the longest ten times the shortest or more.",
        )
    if len(points) > MOST_POINTS:
        raise BadInput(
            f"{len(points):,} points are more than the {MOST_POINTS:,} that are compared in pairs.",
            "Take the median of each length.",
        )
    ordered = sorted(points, key=lambda point: point.context_tokens)
    slopes = sorted(
        (later.itl_s - earlier.itl_s) / (later.context_tokens - earlier.context_tokens)
        for index, earlier in enumerate(ordered)
        for later in ordered[index + 1 :]
        if later.context_tokens > earlier.context_tokens
    )
    slope = median(slopes)
    intercept = median(point.itl_s - slope * point.context_tokens for point in ordered)
    count = len(ordered)
    reach = NORMAL_95 * sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, int((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, ceil((len(slopes) + reach) / 2))
    return Line(
        slope=slope,
        low_slope=slopes[low],
        high_slope=slopes[high],
        intercept=intercept,
        spread=max(abs(point.itl_s - intercept - slope * point.context_tokens) for point in ordered),
        points=count,
    )


def latency_xray(line: Line, device: Hardware, *, accelerators: int = 1, batch: int = 1) -> LatencyXRay:
    """Cache bytes per token and weight bytes per step behind a line.

    accelerators: that share one copy of the model. batch: sequences of the same length in each step. The middle is
    taken at what the hardware reaches on a cache, the edges over the prior of it and over the line's interval.
    Raises BadInput where ITL does not grow, or the counts make no sense.
    """
    if accelerators < 1 or batch < 1:
        raise BadInput(f"{accelerators} accelerators and a batch of {batch} make no sense.")
    if line.slope <= 0:
        raise BadInput(
            f"ITL does not grow with the context (slope {line.slope * 1e3:.3g} ms per token).",
            "Measure longer contexts, one request at a time; a model of windows and states only has no slope at all.",
        )
    peak = device.read_bytes_per_s.value * accelerators
    middle = device.cache_efficiency.value * peak
    cache: list[float] = []
    weights: list[float] = []
    for draw in draws(("slope_efficiency", "step_constant_s", "fit_share")):
        rate = draw["slope_efficiency"] * peak
        slope = line.low_slope + draw["fit_share"] * (line.high_slope - line.low_slope)
        cache.append(slope * rate / batch)
        weights.append(max(0.0, line.intercept - draw["step_constant_s"]) * rate)
    cache.sort()
    weights.sort()
    return LatencyXRay(
        line=line,
        hardware=device,
        accelerators=accelerators,
        batch=batch,
        cache_bytes=Interval(
            max(0.0, min(quantile(cache, 0.05), line.slope * middle / batch)),
            line.slope * middle / batch,
            max(quantile(cache, 0.95), line.slope * middle / batch),
        ),
        weight_bytes=Interval(*(quantile(weights, share) for share in (0.05, 0.5, 0.95))),
        warnings=tuple(_warnings(line)),
    )


def _warnings(line: Line) -> list[str]:
    said: list[str] = []
    if line.low_slope <= 0:
        said.append(
            "the slope's interval reaches zero: the lengths are too close together or the measurement too noisy"
        )
    if line.spread > 0.1 * max(line.intercept, 0.0):
        said.append("some points lie far off the line; below a sliding window the slope is steeper than above it")
    return said


@dataclass(frozen=True, kw_only=True)
class LatencyTrial:
    """A published fit of a known model: what the X-ray makes of it, and the truth from the catalog's layout."""

    model: str
    cache_dtype: str
    found: LatencyXRay
    true_bytes: int
    source: str

    @property
    def error(self) -> float:
        """Relative error of the middle."""
        return (self.found.cache_bytes.median or 0.0) / self.true_bytes - 1


def latency_trials() -> tuple[LatencyTrial, ...]:
    """The published fits of catalog/xray/latency.toml. Raises what the catalog raises."""
    from windowtax.catalog.read import read_model
    from windowtax.spec.dtypes import cache_dtype

    found: list[LatencyTrial] = []
    for entry in rows("latency", "fit"):
        slope, intercept = (entry.take(key, float) / 1e3 for key in ("slope_ms_per_token", "intercept_ms"))
        line = Line(slope=slope, low_slope=slope, high_slope=slope, intercept=intercept, spread=0.0, points=0)
        model, dtype = entry.take("model", str), entry.take("cache_dtype", str)
        found.append(
            LatencyTrial(
                model=model,
                cache_dtype=dtype,
                found=latency_xray(line, find_hardware(entry.take("hardware", str))),
                true_bytes=read_model(model).layout(cache_dtype(dtype)).growth_bytes_per_token,
                source=f"{entry.take('source', str)}, {entry.take('date', str)}",
            )
        )
        entry.finish()
    return tuple(found)
