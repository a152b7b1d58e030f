"""H5: the threshold is a product decision - a window that was once the standard one, or the seller's constant."""

from collections.abc import Iterator
from typing import ClassVar

from windowtax.price.xray.findings import Findings
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case, Evidence, Hypothesis, flattened_words, free_bytes


class Policy(Hypothesis):
    """Says nothing about the cache, except that one request of the longest length must fit the machines."""

    name: ClassVar[str] = "H5"
    title: ClassVar[str] = "product window or policy"
    claim: ClassVar[str] = "the threshold is a product's window or the seller's constant, whatever the machine costs"
    formula: ClassVar[str] = "b <= (n M u - w N_total) / L_longest: one request must fit"
    asks: ClassVar[tuple[str, ...]] = ("active_parameters", "total_per_active", "number_bits", "accelerators")
    only_bounds: ClassVar[bool] = True

    def cache_bytes(self, case: Case) -> Iterator[float]:
        for _, room in free_bytes(case, self.asks):
            yield room / max(case.window_tokens, case.threshold_tokens)

    def evidence(self, found: Findings) -> Evidence:
        speaks_for: list[str] = []
        against: list[str] = []
        if found.window:
            speaks_for.append(f"the threshold stands at {found.window}")
        else:
            against.append("no window of this model is known that stands at the threshold")
        low, high = found.price_range
        if found.shared:
            speaks_for.append(
                f"the seller uses it for {len(found.same_seller) + 1} models from ${low:g} to ${high:g} per million"
            )
        elif found.same_seller:
            speaks_for.append(f"the seller uses it for {', '.join(one.model for one in found.same_seller)} too")
        else:
            against.append("no other model of the seller has this threshold")
        if found.elsewhere:
            sellers = ", ".join(one.provider for one in found.elsewhere)
            speaks_for.append(f"other sellers of the same model chose otherwise: {sellers}")
        if found.flattened:
            speaks_for.append(f"the seller took such a tier away with unchanged weights: {flattened_words(found)}")
        return Evidence(speaks_for=tuple(speaks_for), speaks_against=tuple(against))


HYPOTHESES.register("H5")(Policy())
