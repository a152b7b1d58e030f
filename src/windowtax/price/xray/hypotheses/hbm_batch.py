"""H3: beyond the threshold memory no longer holds a full batch, and every token pays a larger share of the machine."""

from collections.abc import Iterator
from typing import ClassVar

from windowtax.price.xray.article import EXAMPLE, sequences_held
from windowtax.price.xray.findings import Findings
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case, Evidence, Hypothesis, free_bytes, market_policy


class HbmBatch(Hypothesis):
    """B L b = usable HBM - weights at the length where the batch that the seller wants just fits."""

    name: ClassVar[str] = "H3"
    title: ClassVar[str] = "HBM-limited batch"
    claim: ClassVar[str] = (
        "beyond the threshold memory holds fewer sequences than the seller needs to share weights among"
    )
    formula: ClassVar[str] = "b = (n M u - w N_total) / (B k L)"
    asks: ClassVar[tuple[str, ...]] = (
        "active_parameters", "total_per_active", "number_bits", "accelerators", "batch", "kink_share",
    )  # fmt: skip

    def cache_bytes(self, case: Case) -> Iterator[float]:
        for values, room in free_bytes(case, self.asks):
            yield room / (values["batch"] * values["kink_share"] * case.threshold_tokens)

    def evidence(self, found: Findings) -> Evidence:
        tokens = found.tier.threshold_tokens
        speaks_for = [
            f"every deployment meets this limit: eight H100 hold {sequences_held(tokens)} sequences of {tokens:,} "
            f"tokens of {EXAMPLE} in FP8"
        ]
        against = [*market_policy(found)]
        tier = found.tier
        if tier.output_step is not None and tier.output_step < tier.input_step:
            against.append(
                f"a smaller batch makes output dearer first; output rises x{tier.output_step:g}, "
                f"input x{tier.input_step:g}"
            )
        against.append("the batch is a choice over a factor of thirty: the interval is wide whatever the truth")
        return Evidence(speaks_for=tuple(speaks_for), speaks_against=tuple(against))


HYPOTHESES.register("H3")(HbmBatch())
