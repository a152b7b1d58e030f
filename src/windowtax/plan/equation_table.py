"""The computed parts of docs/equation.md: `python -m windowtax.plan.equation_table` prints them."""

from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.plan.equation import CLAIMED_CONTEXT_TOKENS, CLAIMED_SHARES, Equation
from windowtax.plan.equation_steps import equation_steps
from windowtax.plan.fit import Deployment, Sizing
from windowtax.plan.schemes import weight_scheme
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.workload import Workload

DEVICE = "h100-sxm"
CASES = (
    ("llama-3.1-8b", "bf16", "bf16", 1),
    ("llama-3.1-8b", "bf16", "fp8", 1),
    ("llama-3.1-8b", "bf16", "bf16", 8),
    ("llama-3.1-70b", "bf16", "bf16", 4),
    ("llama-3.1-70b", "fp8", "fp8", 4),
    ("llama-3.1-70b", "fp8", "fp8", 8),
    ("llama-3.1-405b", "fp8", "fp8", 8),
    ("qwen3-235b-a22b", "fp8", "fp8", 8),
    ("gpt-oss-120b", "checkpoint", "bf16", 1),
    ("gemma-3-27b", "bf16", "bf16", 1),
)
"""Model, bits of weights, bits of cache, ranks: which share of a step reads the cache at 500,000 tokens."""


def worked() -> str:
    """The worked problem's lines: name, result, and the numbers put in."""
    steps = equation_steps(_equation("llama-3.1-70b", "bf16", "bf16", 4, context=131_072, users=3))
    return "".join(f"- {step.name}: **{step.result}** = {step.numbers or step.formula}\n" for step in steps)


def shares() -> str:
    """The table of shares."""
    low, high = CLAIMED_SHARES
    lines = [f"| model | weights | cache | ranks | B = 1 | {low:.0%} from B | {high:.0%} from B | B that fits |\n"]
    lines.append("|---|---|---|---:|---:|---:|---:|---:|\n")
    for model, weights, cache, ranks in CASES:
        found = _equation(model, weights, cache, ranks, context=CLAIMED_CONTEXT_TOKENS, users=1)
        batches = [found.batch_for_share(share, CLAIMED_CONTEXT_TOKENS) for share in CLAIMED_SHARES]
        needed = " | ".join("never" if batch is None else f"{batch:,}" for batch in batches)
        share = found.cache_time_share(CLAIMED_CONTEXT_TOKENS, 1)
        lines.append(
            f"| {model} | {weights} | {cache} | {ranks} | {share:.0%} | {needed} | {found.most_in_flight:,} |\n"
        )
    return "".join(lines)


def _equation(model: str, weights: str, cache: str, ranks: int, *, context: int, users: int) -> Equation:
    spec = read_model(model)
    sizing = Sizing(
        spec=spec,
        hardware=hardware(DEVICE),
        workload=Workload(context_tokens=context, users=users),
        scheme=weight_scheme(weights, spec),
        dtype=cache_dtype(cache),
    )
    return Equation.of(sizing, Deployment(tensor_parallel=ranks))


if __name__ == "__main__":
    print(worked())
    print(shares(), end="")
