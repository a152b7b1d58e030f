"""H2: the price steps where the attention of a prompt costs as much as its matrices."""

from collections.abc import Iterator
from typing import ClassVar

from windowtax.price.xray.findings import Findings
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case, Evidence, Hypothesis, market_policy
from windowtax.price.xray.priors import draws


class PrefillAttention(Hypothesis):
    """Causal attention FLOPs equal matrix FLOPs at L_eq = N_active / (n_q d_h n_full); a prompt token then costs twice.

    That fixes query width times full layers; b follows from how many queries share a KV head.
    """

    name: ClassVar[str] = "H2"
    title: ClassVar[str] = "prefill attention"
    claim: ClassVar[str] = "near the threshold the attention of a prompt costs as much as its matrix multiplications"
    formula: ClassVar[str] = "n_q d_h n_full = N_active / (s L);  b = 2 w n_q d_h n_full / (n_q / n_kv)"
    asks: ClassVar[tuple[str, ...]] = (
        "active_parameters", "crossover_share", "queries_per_kv_head", "cache_number_bytes",
    )  # fmt: skip

    def cache_bytes(self, case: Case) -> Iterator[float]:
        for draw in draws(self.asks, case.known):
            width = draw["active_parameters"] / (draw["crossover_share"] * case.threshold_tokens)
            yield 2 * draw["cache_number_bytes"] * width / draw["queries_per_kv_head"]

    def evidence(self, found: Findings) -> Evidence:
        tier = found.tier
        speaks_for: list[str] = []
        against = [*market_policy(found)]
        if tier.output_step is None or tier.input_step >= tier.output_step * 0.99:
            output = "is not priced" if tier.output_step is None else f"rises x{tier.output_step:g}"
            speaks_for.append(
                f"input rises x{tier.input_step:g}, output {output}: the prompt is what became dearer, or not less"
            )
        else:
            against.append(f"output rises x{tier.output_step:g}, more than input x{tier.input_step:g}")
        if 1.75 <= tier.input_step <= 2.25:
            speaks_for.append(
                f"a prompt at the crossover costs exactly twice per token; the list says x{tier.input_step:g}"
            )
        else:
            against.append(f"at the crossover a prompt token would cost x2; the list says x{tier.input_step:g}")
        against.append(
            "from FLOPs to bytes it takes 4 to 16 queries per KV head; MLA keeps one number where DeepSeek-V3 computes "
            "71, and would keep less than this interval"
        )
        if found.untiered:
            names = ", ".join(one.model for one in found.untiered[:3])
            against.append(f"models of the same seller with longer windows have no tier: {names}")
        return Evidence(speaks_for=tuple(speaks_for), speaks_against=tuple(against))


HYPOTHESES.register("H2")(PrefillAttention())
