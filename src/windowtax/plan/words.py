"""Words to plans: options as a person types them, read the same way by the commands and by the page."""

from windowtax.base.errors import BadInput
from windowtax.plan.knee import Slo, parse_promise
from windowtax.plan.parallel import parse_parallel
from windowtax.plan.plan import PlanOptions
from windowtax.spec.model import ModelSpec
from windowtax.spec.override import with_attention, with_rope


def levered(spec: ModelSpec, *, rope: str | None, attention: str | None, drafts: bool) -> ModelSpec:
    """The model, with the levers that are laid over it. Raises BadInput, UnsupportedModel."""
    spec = spec.with_drafts() if drafts else spec
    spec = spec if attention is None else with_attention(spec, attention)
    return spec if rope is None else with_rope(spec, rope)


def plan_options(
    *,
    cache_dtype: str,
    weights: str,
    gpus: int | None,
    chunk: int,
    parallel: str | None,
    slo_ttft: str | None,
    slo_tpot: str | None,
) -> PlanOptions:
    """How the model is held: words such as parallel="tp=8,dp=2", slo_ttft="p90:2s". Raises BadInput."""
    if chunk < 1:
        raise BadInput(f"A prefill chunk of {chunk} tokens makes no sense.", "Write a whole number from 1.")
    ttft_s, first = (None, None) if slo_ttft is None else parse_promise(slo_ttft)
    tpot_s, further = (None, None) if slo_tpot is None else parse_promise(slo_tpot)
    slo = Slo(ttft_s=ttft_s, tpot_s=tpot_s, ttft_percent=first, tpot_percent=further)
    return PlanOptions(
        cache_dtype=cache_dtype,
        weights=weights,
        accelerators=gpus,
        chunk_tokens=chunk,
        parallel=None if parallel is None else parse_parallel(parallel),
        slo=None if ttft_s is None and tpot_s is None else slo,
    )
