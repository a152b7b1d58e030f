"""The X-ray of one price list: every tier under every hypothesis, with what fits and what speaks for and against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from windowtax.base.errors import BadInput
from windowtax.price.xray.architectures import Fit, Published, layers_inside, published_inside
from windowtax.price.xray.article import (
    ARTICLE_ACTIVE_PARAMETERS,
    ArticleInference,
    ArticleReading,
    article_inference,
    article_readings,
)
from windowtax.price.xray.backtest import Backtest, Score, backtest
from windowtax.price.xray.bounds import Bound, OutputReading, discount_bounds, output_reading, storage_bounds
from windowtax.price.xray.findings import Findings, find
from windowtax.price.xray.hypotheses.base import HYPOTHESES, Case, Hypothesis
from windowtax.price.xray.priors import Interval, chips
from windowtax.price.xray.shape import PriceShape, price_shape

EXAMPLE_PARAMETERS = 70e9
"""Parameters of the dense model for which the output price is read where nothing is known: Llama 70B's size."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One hypothesis at one tier. interval: B per token, None where no machine of the priors could do it.

    likelihood: from the back-test, None where the calibration set supports none.
    """

    hypothesis: Hypothesis
    interval: Interval | None
    fits: tuple[Fit, ...]
    published: tuple[Published, ...]
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]
    score: Score

    @property
    def likelihood(self) -> float | None:
        """Share of comparable cases in which the hypothesis should hold, by the rule of succession."""
        return self.score.likelihood


@dataclass(frozen=True, kw_only=True)
class TierReading:
    """One threshold: what was found about it, the verdicts, and article 5's inference from it."""

    findings: Findings
    article: ArticleInference
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class XRay:
    """Everything that can be said of one list. readings: one per tier; empty where the list has none."""

    shape: PriceShape
    known: Mapping[str, float]
    readings: tuple[TierReading, ...]
    bounds: tuple[Bound, ...]
    output: OutputReading | None
    article_readings: tuple[ArticleReading, ...]

    def reading(self, threshold_tokens: int | None = None) -> TierReading | None:
        """The reading of a threshold, of the first one unless given. Raises BadInput where there is no such tier."""
        if threshold_tokens is None:
            return self.readings[0] if self.readings else None
        for one in self.readings:
            if one.findings.tier.threshold_tokens == threshold_tokens:
                return one
        there = ", ".join(f"{tier.threshold_tokens:,}" for tier in self.shape.tiers) or "none"
        raise BadInput(f"This list has no tier at {threshold_tokens:,} tokens.", f"Its tiers: {there}.")


def xray(
    provider: str,
    model: str,
    *,
    active_parameters: float | None = None,
    total_parameters: float | None = None,
    at: datetime | None = None,
) -> XRay:
    """The X-ray of a list at a moment (now unless given). Parameters that are known narrow every interval.

    Raises UnknownName for an unknown list, BadInput for senseless parameters or a list without an input price.
    """
    known = _known(active_parameters, total_parameters)
    shape = price_shape(provider, model, at)
    tried = backtest()
    bounds = (*storage_bounds(shape), *discount_bounds(shape, known))
    return XRay(
        shape=shape,
        known=known,
        readings=tuple(_reading(find(shape, tier, at), known, bounds, tried) for tier in shape.tiers),
        bounds=bounds,
        output=_output(shape, known),
        article_readings=article_readings(shape),
    )


def _known(active: float | None, total: float | None) -> dict[str, float]:
    if (active is not None and active <= 0) or (total is not None and total <= 0):
        raise BadInput("A number of parameters must be positive.", "Write --active 22e9 for 22 billion.")
    if active is not None and total is not None and active > total:
        raise BadInput(f"{active:,.0f} active parameters cannot be more than {total:,.0f} in all.")
    return {
        name: value for name, value in (("active_parameters", active), ("total_parameters", total)) if value is not None
    }


def _reading(findings: Findings, known: Mapping[str, float], bounds: tuple[Bound, ...], tried: Backtest) -> TierReading:
    shape, tier = findings.shape, findings.tier
    case = Case(
        threshold_tokens=tier.threshold_tokens,
        window_tokens=shape.window_tokens or tier.threshold_tokens,
        known=known,
    )
    return TierReading(
        findings=findings,
        article=article_inference(tier.threshold_tokens, known.get("active_parameters", ARTICLE_ACTIVE_PARAMETERS)),
        verdicts=tuple(_verdict(entry, case, findings, bounds, tried) for _, entry in HYPOTHESES.items()),
    )


def _verdict(
    hypothesis: Hypothesis, case: Case, findings: Findings, bounds: tuple[Bound, ...], tried: Backtest
) -> Verdict:
    interval, score = hypothesis.interval(case), tried.scores[hypothesis.name]
    evidence = hypothesis.evidence(findings)
    speaks_for, speaks_against = list(evidence.speaks_for), list(evidence.speaks_against)
    if interval is not None and not hypothesis.only_bounds:
        for bound in bounds:
            if interval.low > bound.limit.high:
                speaks_against.append(
                    f"even its low end of {interval.low:,.0f} B is above {bound.limit.high:,.0f} B, the most that "
                    f"another price allows ({bound.name})"
                )
    said = _tried(hypothesis, score, tried)
    (speaks_for if score.supported else speaks_against).insert(0, said)
    informative = interval is not None and not hypothesis.only_bounds
    return Verdict(
        hypothesis=hypothesis,
        interval=interval,
        fits=layers_inside(interval) if interval and informative else (),
        published=published_inside(interval) if interval and informative else (),
        speaks_for=tuple(speaks_for),
        speaks_against=tuple(speaks_against),
        score=score,
    )


def _tried(hypothesis: Hypothesis, score: Score, tried: Backtest) -> str:
    """The line that the back-test adds to a hypothesis."""
    if hypothesis.only_bounds:
        return (
            f"back-test: the threshold was a native window or the seller's constant in {score.inside} of {score.cases}"
        )
    said = f"back-test: the true cache lay inside in {score.inside} of {score.cases} models"
    if hypothesis.name == "H1":
        low, high = tried.kink_errors
        said += f"; as a formula it is {low:.0f} to {high:.0f} times too low"
    if score.bits is not None:
        better = "more" if score.bits > 0 else "less"
        said += f"; it says {abs(score.bits):.1f} bits {better} than knowing nothing"
    return said


def _output(shape: PriceShape, known: Mapping[str, float]) -> OutputReading | None:
    if shape.output_ratio is None:
        return None
    active = known.get("active_parameters", EXAMPLE_PARAMETERS)
    h100 = next(chip for chip in chips() if chip.name == "h100-sxm")
    return output_reading(shape.output_ratio, active, known.get("total_parameters", active), h100)
