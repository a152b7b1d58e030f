"""The load's lines of `windowtax plan --explain` and of the report."""

from windowtax.base.sourced import Basis
from windowtax.base.units import format_seconds
from windowtax.plan.knee import LoadPoint
from windowtax.plan.plan import Plan
from windowtax.plan.steps import Step

DERIVED = str(Basis.DERIVED)


def load_steps(plan: Plan) -> list[Step]:
    """Steady load, the knee, full memory, and the promise."""
    load, point = plan.load, plan.point
    assert load is not None and point is not None
    full = load.at(load.most_in_flight)
    steps = [
        Step(
            f"steady load of {point.users:,}",
            "TPOT = (decode steps + other users' prompts) / tokens; TTFT = queue of prompts; Little's law where full",
            f"prompt {load.prompt_tokens:,}, output {load.output_tokens:,}, chunk {load.chunk_tokens:,}",
            seen(point),
            DERIVED,
            "one replica; mean value analysis of the queue of prompts (Reiser & Lavenberg 1980); docs/accuracy.md",
        ),
        Step(
            "knee",
            "most tokens/s / TPOT (Kleinrock's power)",
            f"{load.knee.users:,} users",
            seen(load.knee),
            DERIVED,
            "more users add little throughput and much latency",
        ),
        Step(
            "memory full",
            "room / bytes of one window",
            f"{full.users:,} users",
            seen(full),
            DERIVED,
            "more users wait for a window",
        ),
    ]
    if plan.promise is not None:
        steps.append(
            Step(
                "promise",
                "fewest accelerators whose replicas keep TTFT and TPOT",
                f"up to {plan.promise.users_per_replica:,} users per replica",
                f"{plan.fit.deployment.accelerators:,} accelerators: {seen(plan.promise.point)}",
                DERIVED,
                f"under steady load: {plan.promise.slo.words} (plan/waiting.py)",
            )
        )
    return steps


def seen(point: LoadPoint) -> str:
    """What users see, in a line."""
    return (
        f"TTFT {format_seconds(point.ttft_s)}, TPOT {format_seconds(point.tpot_s)}, "
        f"{point.output_tokens_per_s:,.1f} tokens/s"
    )
