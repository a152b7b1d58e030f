"""X-rays as JSON. Sizes in B, prices in USD per million tokens, times in s; every figure names its basis."""

from typing import Any

from windowtax.base.sourced import Basis
from windowtax.price.xray.analysis import TierReading, Verdict, XRay
from windowtax.price.xray.architectures import Fit, Published
from windowtax.price.xray.article import objections
from windowtax.price.xray.backtest import Backtest, BacktestRow, Score
from windowtax.price.xray.bounds import Bound
from windowtax.price.xray.latency import LatencyTrial, LatencyXRay
from windowtax.price.xray.priors import Interval, priors
from windowtax.price.xray.shape import PriceShape

SCHEMA = "windowtax.xray/1"


def xray_json(found: XRay) -> dict[str, Any]:
    """One list's X-ray with every tier and every stated prior that its hypotheses use."""
    output = found.output
    asked = {name for reading in found.readings for verdict in reading.verdicts for name in verdict.hypothesis.asks}
    return {
        "schema": SCHEMA,
        "price_list": _shape(found.shape),
        "known": dict(found.known),
        "tiers": [_reading(one) for one in found.readings],
        "article_5_readings": [
            {"price": one.price, "says": one.says, "judged": one.judged} for one in found.article_readings
        ],
        "bounds": [_bound(one) for one in found.bounds],
        "output_price": None
        if output is None
        else {
            "ratio": output.ratio,
            "read_bytes_per_output_token": output.read_bytes,
            "smallest_batch": output.smallest_batch,
            "active_parameters": output.active_parameters,
            "total_parameters": output.total_parameters,
            "chip": output.chip,
            "basis": Basis.DERIVED,
        },
        "priors": {
            name: {"range": prior.span, "unit": prior.unit, "basis": prior.basis, "why": prior.why, "date": prior.date}
            for name, prior in priors().items()
            if name in asked
        },
    }


def backtest_json(found: Backtest, trials: tuple[LatencyTrial, ...]) -> dict[str, Any]:
    """The back-test of prices and of latencies."""
    low, high = found.kink_errors
    return {
        "schema": SCHEMA,
        "rows": [_row(row) for row in found.rows],
        "scores": {name: _score(score) for name, score in found.scores.items()},
        "makers": found.sellers,
        "kink_formula_too_low_by": [low, high],
        "latency": [
            {
                "model": trial.model,
                "cache_dtype": trial.cache_dtype,
                "true_bytes_per_token": trial.true_bytes,
                "relative_error": trial.error,
                "source": trial.source,
                **latency_json(trial.found),
            }
            for trial in trials
        ],
    }


def latency_json(found: LatencyXRay) -> dict[str, Any]:
    """A latency X-ray: the line is measured, the bytes are derived from it."""
    line = found.line
    return {
        "schema": SCHEMA,
        "hardware": found.hardware.name,
        "accelerators": found.accelerators,
        "batch": found.batch,
        "line": {
            "slope_s_per_token": line.slope,
            "slope_95_percent": [line.low_slope, line.high_slope],
            "intercept_s": line.intercept,
            "largest_residual_s": line.spread,
            "points": line.points,
            "basis": Basis.MEASURED,
        },
        "cache_bytes_per_token": _interval(found.cache_bytes),
        "weight_bytes_per_step": _interval(found.weight_bytes),
        "warnings": list(found.warnings),
    }


def _shape(shape: PriceShape) -> dict[str, Any]:
    return {
        "provider": shape.provider,
        "model": shape.model,
        "input_usd_per_mtok": shape.input_usd_per_mtok,
        "output_usd_per_mtok": shape.output_usd_per_mtok,
        "cache_read_usd_per_mtok": shape.cache_read_usd_per_mtok,
        "storage_usd_per_mtok_hour": shape.storage_usd_per_mtok_hour,
        "output_ratio": shape.output_ratio,
        "read_discount": shape.read_discount,
        "context_window_tokens": shape.context_window_tokens,
        "tiers": [
            {
                "threshold_tokens": tier.threshold_tokens,
                "input_usd_per_mtok": tier.input_usd_per_mtok,
                "output_usd_per_mtok": tier.output_usd_per_mtok,
                "input_step": tier.input_step,
                "output_step": tier.output_step,
            }
            for tier in shape.tiers
        ],
        "source": shape.source,
        "checked": shape.date,
    }


def _reading(reading: TierReading) -> dict[str, Any]:
    found = reading.findings
    return {
        "threshold_tokens": found.tier.threshold_tokens,
        "also_at_this_seller": [shape.model for shape in found.same_seller],
        "elsewhere": {
            f"{shape.provider}/{shape.model}": [tier.threshold_tokens for tier in shape.tiers]
            for shape in found.elsewhere
        },
        "window": found.window,
        "article_5": {
            "active_parameters": reading.article.active_parameters,
            "cache_bytes_per_token": reading.article.cache_bytes,
            "layers_of_8x128_fp8": reading.article.layers,
            "basis": Basis.DERIVED,
            "objections": list(objections(reading.article)),
        },
        "hypotheses": [_verdict(verdict) for verdict in reading.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    hypothesis = verdict.hypothesis
    return {
        "name": hypothesis.name,
        "title": hypothesis.title,
        "claim": hypothesis.claim,
        "formula": hypothesis.formula,
        "cache_bytes_per_token": None if verdict.interval is None else _interval(verdict.interval),
        "designs": [_fit(one) for one in verdict.fits],
        "published": [_published(one) for one in verdict.published],
        "evidence_for": list(verdict.speaks_for),
        "evidence_against": list(verdict.speaks_against),
        "likelihood": verdict.likelihood,
        "backtest": _score(verdict.score),
    }


def _fit(fit: Fit) -> dict[str, Any]:
    return {
        "design": fit.design.title,
        "used_by": fit.design.used_by,
        "growing_layers": {name: None if span is None else list(span) for name, span in fit.layers.items()},
    }


def _published(one: Published) -> dict[str, Any]:
    return {
        "model": one.model,
        "cache_dtype": one.dtype,
        "growth_bytes_per_token": one.growth_bytes,
        "growing_layers": one.growing_layers,
        "basis": Basis.DERIVED,
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {"p05": interval.low, "p50": interval.median, "p95": interval.high, "basis": Basis.DERIVED}


def _bound(bound: Bound) -> dict[str, Any]:
    return {"name": bound.name, "at_most_bytes": _interval(bound.limit), "why": bound.why, "source": bound.source}


def _score(score: Score) -> dict[str, Any]:
    return {
        "inside": score.inside,
        "cases": score.cases,
        "bits_over_ignorance": score.bits,
        "likelihood": score.likelihood,
    }


def _row(row: BacktestRow) -> dict[str, Any]:
    known = row.known
    return {
        "model": known.title,
        "price_list": f"{known.shape.provider}/{known.shape.model}",
        "mapping": known.mapping,
        "threshold_tokens": row.threshold_tokens,
        "active_parameters": known.active_parameters,
        "true_bytes_per_token_fp8": known.true_bytes,
        "article_bytes": row.article_bytes,
        "article_too_low_by": row.article_error,
        "two_flops_h100_bf16_bytes": row.corrected_bytes,
        "two_flops_h100_bf16_too_low_by": row.corrected_error,
        "prefill_crossover_tokens": known.crossover_tokens,
        "prefill_crossover_over_threshold": row.crossover_ratio,
        "at_native_window": row.at_window,
        "shared_with_other_models": row.shared,
        "intervals": {
            name: _interval(interval)
            | {"inside": known.true_bytes in interval, "miss": interval.miss(known.true_bytes)}
            for name, interval in row.intervals.items()
        },
        "note": known.note,
        "source": known.source,
        "date": known.date,
    }
