"""H4: longer requests are sent to another pool, which splits one context over more machines."""

from collections.abc import Iterator
from typing import ClassVar

from windowtax.price.xray.findings import Findings
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case, Evidence, Hypothesis, free_bytes, market_policy


class ParallelPool(Hypothesis):
    """The ordinary pool holds one to four requests of the threshold's length, and no longer ones."""

    name: ClassVar[str] = "H4"
    title: ClassVar[str] = "switch to a context-parallel pool"
    claim: ClassVar[str] = "requests beyond the threshold run on other machines that split one context among them"
    formula: ClassVar[str] = "b = (n M u - w N_total) / (S L), S = 1 to 4"
    asks: ClassVar[tuple[str, ...]] = (
        "active_parameters", "total_per_active", "number_bits", "accelerators", "pool_sequences",
    )  # fmt: skip

    def cache_bytes(self, case: Case) -> Iterator[float]:
        for values, room in free_bytes(case, self.asks):
            yield room / (values["pool_sequences"] * case.threshold_tokens)

    def evidence(self, found: Findings) -> Evidence:
        tier = found.tier
        speaks_for = ["the whole request changes its price, as it would if it moved to other machines"]
        against = [*market_policy(found)]
        if found.one_step:
            speaks_for.append(f"input and output rise by one factor, x{tier.input_step:g}")
        elif tier.output_step is not None:
            against.append(
                f"other machines would raise all by one factor; input rises x{tier.input_step:g}, output "
                f"x{tier.output_step:g}"
            )
        if found.untiered:
            against.append(f"{len(found.untiered)} models of the seller with longer windows need no such switch")
        return Evidence(speaks_for=tuple(speaks_for), speaks_against=tuple(against))


HYPOTHESES.register("H4")(ParallelPool())
