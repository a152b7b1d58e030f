"""H1, article 5's idea: the price steps where reading the cache takes as long as computing."""

from collections.abc import Iterator
from typing import ClassVar

from windowtax.price.xray.findings import Findings
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case, Evidence, Hypothesis, market_policy
from windowtax.price.xray.priors import draws


class DecodeKv(Hypothesis):
    """L* b / (eta_BW BW) = 2 N_active / (eta_C C), with batches large enough that weights do not count."""

    name: ClassVar[str] = "H1"
    title: ClassVar[str] = "decode KV kink"
    claim: ClassVar[str] = "beyond the threshold a decode step spends longer reading the cache than computing"
    formula: ClassVar[str] = "b = 2 N_active / (k L) x (eta_BW BW) / (eta_C C)"
    asks: ClassVar[tuple[str, ...]] = (
        "active_parameters", "number_bits", "bandwidth_efficiency", "compute_efficiency", "kink_share",
    )  # fmt: skip

    def cache_bytes(self, case: Case) -> Iterator[float]:
        for draw in draws(self.asks, case.known):
            read = draw["bandwidth_efficiency"] * draw.chip.read_bytes_per_s
            computed = draw["compute_efficiency"] * draw.flops_per_s
            yield 2 * draw["active_parameters"] / (draw["kink_share"] * case.threshold_tokens) * read / computed

    def evidence(self, found: Findings) -> Evidence:
        tier = found.tier
        against = [*market_policy(found)]
        if tier.output_step is not None and tier.output_step <= tier.input_step:
            against.insert(
                0,
                f"output rises x{tier.output_step:g}, input x{tier.input_step:g}: decoding would raise output more",
            )
        against.append("whole requests are re-priced from their first token; a kink in the cost would price the rest")
        against.append("it needs batches that the memory cannot hold: at long contexts the HBM limit comes first (H3)")
        speaks_for = []
        if tier.output_step is not None and tier.output_step > tier.input_step:
            speaks_for = [f"output rises x{tier.output_step:g}, more than input x{tier.input_step:g}"]
        return Evidence(speaks_for=tuple(speaks_for), speaks_against=tuple(against))


HYPOTHESES.register("H1")(DecodeKv())
