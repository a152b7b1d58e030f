"""X-rays as tables of words, for the terminal and for docs/xray.md alike."""

from collections.abc import Sequence

from windowtax.price.xray.architectures import Fit, designs, layers_inside, published_inside
from windowtax.price.xray.backtest import FP8, Backtest, BacktestRow, Score
from windowtax.price.xray.hypotheses.base import HYPOTHESES
from windowtax.price.xray.latency import LatencyTrial
from windowtax.price.xray.priors import Interval

DOCS_BEGIN = "<!-- back-test: written by windowtax.price.xray.report.backtest_markdown -->"
DOCS_END = "<!-- end of the back-test -->"


def amount(num_bytes: float) -> str:
    """Bytes in decimal units, three digits: "1,667 B", "31.2 KB", "2.05 MB", "1.42 GB"."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e4, "KB")):
        if num_bytes >= unit:
            scale = 1e3 if name == "KB" else unit
            value = num_bytes / scale
            return f"{value:,.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{num_bytes:,.0f} B"


def span(interval: Interval | None) -> tuple[str, str, str]:
    """5, 50 and 95 % in words; dashes where there is nothing."""
    if interval is None:
        return "-", "-", "-"
    median = "-" if interval.median is None else amount(interval.median)
    return amount(interval.low), median, amount(interval.high)


def architectures_line(fits: Sequence[Fit]) -> str:
    """Every design that fits, with its fewest and most growing layers over all dtypes."""
    parts: list[str] = []
    for fit in fits:
        found = [counts for counts in fit.layers.values() if counts is not None]
        if found:
            low, high = min(pair[0] for pair in found), max(pair[1] for pair in found)
            parts.append(f"{fit.design.title}: {low}" if low == high else f"{fit.design.title}: {low}-{high}")
    return "; ".join(parts) + " (growing layers, bf16 to 4-bit)" if parts else "none"


DEEP_LAYERS = 80
"""Layers of the model that `sharing_line` takes as its example: Llama 70B's."""


def sharing_line(interval: Interval) -> str:
    """The same as a hybrid or as sharing: one growing cache for how many of 80 layers of GQA 8 x 128 in FP8."""
    one = next(design for design in designs() if design.title == "GQA 8 x 128").layer_bytes(FP8)
    fewest, most = (DEEP_LAYERS * one / edge for edge in (interval.high, max(interval.low, 1.0)))
    if most < 1:
        return f"not even {DEEP_LAYERS} layers of GQA 8 x 128 in FP8 keep as much"
    fewest, most = max(1.0, fewest), min(float(DEEP_LAYERS), most)
    if fewest >= DEEP_LAYERS:
        return f"less than one layer of {DEEP_LAYERS} of GQA 8 x 128 in FP8: only a smaller cache per layer"
    if most < 1.5:
        return f"all of {DEEP_LAYERS} layers of GQA 8 x 128 in FP8"
    least = "all" if fewest < 1.5 else f"one in {fewest:.0f}"
    return (
        f"of {DEEP_LAYERS} layers of GQA 8 x 128 in FP8, {least} to one in {most:.0f} grows (the others "
        "have windows or states), or as many share one cache: the price cannot tell these apart"
    )


def layers_line(interval: Interval) -> str:
    """architectures_line of an interval."""
    return architectures_line(layers_inside(interval))


def published_line(interval: Interval) -> str:
    """The catalog's models inside an interval, with dtype and bytes."""
    return "; ".join(f"{one.model} {one.dtype} {one.growth_bytes:,} B" for one in published_inside(interval))


def bits_words(score: Score) -> str:
    """Bits over knowing nothing; "-" for a hypothesis that says nothing of the cache."""
    return "-" if score.bits is None else f"{score.bits:+.1f}"


def likelihood_words(score: Score) -> str:
    """The rule of succession with its counts, or that there is none."""
    return "none" if score.likelihood is None else f"{score.likelihood:.0%} (n = {score.cases})"


def formula_table(found: Backtest) -> list[tuple[str, ...]]:
    """The kink formula in both forms against the truth, one line per model and threshold, a heading first."""
    lines: list[tuple[str, ...]] = [
        ("model", "threshold", "true", "article", "too low", "2 FLOPs", "too low", "L_eq/L")
    ]
    for row in found.rows:
        lines.append((
            row.known.title,
            f"{row.threshold_tokens:,}",
            f"{row.known.true_bytes:,}",
            f"{row.article_bytes:,.0f}",
            f"{row.article_error:,.0f}x",
            f"{row.corrected_bytes:,.0f}",
            f"{row.corrected_error:,.0f}x",
            f"{row.crossover_ratio:.2f}",
        ))  # fmt: skip
    return lines


def interval_table(found: Backtest) -> list[tuple[str, ...]]:
    """Whether each hypothesis' interval holds the truth, one line per model and threshold, a heading first."""
    names = HYPOTHESES.names()
    lines: list[tuple[str, ...]] = [("model", "threshold", *names)]
    for row in found.rows:
        lines.append((row.known.title, f"{row.threshold_tokens:,}", *(_mark(name, row) for name in names)))
    return lines


def _mark(name: str, row: BacktestRow) -> str:
    if HYPOTHESES.get(name).only_bounds:
        return "window" if row.at_window else "shared" if row.shared else "no"
    if name not in row.intervals:
        return "-"
    interval = row.intervals[name]
    if row.known.true_bytes in interval:
        return "in"
    miss = interval.miss(row.known.true_bytes)
    return f"{'low' if row.known.true_bytes > interval.high else 'high'} {miss:.3g}x"


def score_table(found: Backtest) -> list[tuple[str, ...]]:
    """One line per hypothesis: hits, bits, and the likelihood where the set supports one."""
    lines: list[tuple[str, ...]] = [("", "hypothesis", "right", "bits", "likelihood")]
    for name, score in found.scores.items():
        title = HYPOTHESES.get(name).title
        lines.append((name, title, f"{score.inside} of {score.cases}", bits_words(score), likelihood_words(score)))
    return lines


def latency_table(trials: Sequence[LatencyTrial]) -> list[tuple[str, ...]]:
    """One line per published fit."""
    lines: list[tuple[str, ...]] = [("model", "cache", "true", "found", "error", "5 to 95 %", "weights per step")]
    for trial in trials:
        low, _, high = span(trial.found.cache_bytes)
        least, _, most = span(trial.found.weight_bytes)
        lines.append((
            trial.model,
            trial.cache_dtype,
            f"{trial.true_bytes:,}",
            f"{trial.found.cache_bytes.median or 0:,.0f}",
            f"{trial.error:+.0%}",
            f"{low} to {high}",
            f"{least} to {most}",
        ))  # fmt: skip
    return lines


def backtest_markdown(found: Backtest, trials: Sequence[LatencyTrial]) -> str:
    """The four tables as docs/xray.md shows them, between DOCS_BEGIN and DOCS_END."""
    parts = [DOCS_BEGIN]
    for table in (formula_table(found), interval_table(found), score_table(found), latency_table(trials)):
        parts += ["", _row(table[0]), _row(tuple("---" for _ in table[0])), *(_row(line) for line in table[1:])]
    return "\n".join([*parts, "", DOCS_END])


def refreshed(page: str, found: Backtest, trials: Sequence[LatencyTrial]) -> str:
    """A page with its tables between DOCS_BEGIN and DOCS_END written anew. Raises ValueError where they are missing."""
    before, _, rest = page.partition(DOCS_BEGIN)
    _, end, after = rest.partition(DOCS_END)
    if not end:
        raise ValueError("the page has no place for the back-test")
    return before + backtest_markdown(found, trials) + after


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
