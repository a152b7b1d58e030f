"""A replay as JSON."""

from windowtax.base.sourced import Basis
from windowtax.plan.replay.hits import HitCurve
from windowtax.plan.replay.objective import ANY, Objective
from windowtax.plan.replay.report import ReplayReport, ReplaySummary
from windowtax.plan.replay.slo import HOURS_PER_MONTH, SloAnswer
from windowtax.plan.replay.statistics import Distribution


def report_json(report: ReplayReport) -> dict[str, object]:
    """The report as JSON: seconds, bytes, tokens and USD; every group of figures with its basis."""
    trace, statistics, replica, hits = report.trace, report.statistics, report.replica, report.hits
    derived = str(Basis.DERIVED)
    return {
        "model": report.spec.name,
        "hardware": report.hardware.name,
        "trace": {
            "name": trace.name,
            "format": trace.format,
            "basis": str(Basis.MEASURED),
            "num_requests": statistics.num_requests,
            "duration_s": statistics.duration_s,
            "requests_per_s": statistics.requests_per_s,
            "busiest_minute_requests": statistics.busiest_minute_requests,
            "prompt_tokens": _distribution(statistics.prompt),
            "output_tokens": _distribution(statistics.output),
            "block_tokens": trace.block_tokens,
            "repeated_prompt_tokens": statistics.repeated_tokens,
        },
        "replica": {
            "accelerators": replica.accelerators,
            "pool_bytes": replica.pool_bytes,
            "weights_bytes_per_accelerator": replica.rank.weights.resident,
            "cache_dtype": replica.cache_dtype,
            "weights": replica.rank.scheme.name,
            "step_tokens": replica.options.step_tokens,
            "max_sequences": replica.options.max_sequences,
            "prefix_cache": replica.options.prefix_cache,
            "basis": derived,
        },
        "hits": {
            "basis": derived,
            "policy": hits.policy,
            "block_bytes": hits.block_bytes,
            "prompt_tokens": hits.prompt_tokens,
            "sizes": [
                _hit(point.num_bytes, point.found_tokens, hits, blocks=point.num_blocks) for point in hits.points
            ],
            "tiers": [{"tier": one.name, **_hit(one.num_bytes, one.found_tokens, hits)} for one in report.tiers],
            "endless": {"found_tokens": hits.endless_tokens, "rate": hits.rate(hits.endless_tokens)},
            "footprint_bytes": hits.footprint_bytes,
        },
        "slo": {
            "objectives": [_objective(one) for one in report.slo.objectives],
            "searched_requests": report.searched_requests,
            "answers": [_answer(answer, report) for answer in report.answers],
        },
        "replay": None if report.summary is None else _summary(report.summary),
        "cost": {
            "usd_per_hour": report.usd_per_hour,
            "usd_per_month": report.usd_per_month,
            "hours_per_month": HOURS_PER_MONTH,
            "basis": derived,
        },
        "notes": list(report.notes),
    }


def _distribution(one: Distribution | None) -> dict[str, float] | None:
    if one is None:
        return None
    return {"mean": one.mean, "p50": one.p50, "p90": one.p90, "p99": one.p99, "max": one.largest}


def _hit(num_bytes: int, found_tokens: int, hits: HitCurve, blocks: int | None = None) -> dict[str, object]:
    found: dict[str, object] = {"bytes": num_bytes, "found_tokens": found_tokens, "rate": hits.rate(found_tokens)}
    return found if blocks is None else {**found, "blocks": blocks}


def _objective(one: Objective) -> dict[str, float | None]:
    """null: any time will do."""
    times = (None if limit == ANY else limit for limit in (one.ttft_s, one.tpot_s))
    return dict(zip(("ttft_s", "tpot_s"), times, strict=True)) | {"percent": one.percent}


def _answer(answer: SloAnswer, report: ReplayReport) -> dict[str, object]:
    price, accelerators = report.hardware.usd_per_hour, answer.accelerators
    month = None if price is None or accelerators is None else price.value * accelerators * HOURS_PER_MONTH
    return {
        "accelerators_per_replica": answer.replica.accelerators,
        "replicas": answer.replicas,
        "accelerators": accelerators,
        "in_time": list(answer.attained),
        "usd_per_month": month,
    }


def _summary(summary: ReplaySummary) -> dict[str, object]:
    return {
        "basis": str(Basis.DERIVED),
        "replicas": summary.replicas,
        "num_requests": summary.num_requests,
        "ttft_s": _distribution(summary.ttft),
        "tpot_s": _distribution(summary.tpot),
        "call_s": _distribution(summary.call),
        "in_time": list(summary.attained),
        "prompt_tokens": summary.prompt_tokens,
        "output_tokens": summary.output_tokens,
        "cached_tokens": summary.cached_tokens,
        "found_tokens_by_tier": dict(summary.found_tokens),
        "preemptions": summary.preemptions,
        "preemptions_moved": summary.moves,
        "preempted_requests": summary.preempted_requests,
        "steps": summary.steps,
        "scheduled_tokens": summary.scheduled_tokens,
        "finished_s": summary.finished_s,
        "busy": summary.busy,
        "running_sequences": summary.running,
        "pool_held": summary.held,
        "refused": [{"line": line, "reason": why} for line, why in summary.refused],
    }
