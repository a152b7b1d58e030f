"""Claims and checks as plain data, for --json."""

import math
from typing import Any

from windowtax.plan.check import Check, Match
from windowtax.plan.claims.judge import ARTICLES, Judged


def claim_json(judged: Judged) -> dict[str, Any]:
    """One claim with our value, formula, assumption, verdict and reason."""
    claim, reading = judged.claim, judged.reading
    low, high = claim.low, claim.high
    return {
        "id": claim.id,
        "article": claim.article,
        "article_title": ARTICLES[claim.article],
        "claim": claim.quote,
        "claimed": {"value": low if low == high else [low, high], "unit": claim.unit, "text": judged.claimed_text},
        "ours": {"value": judged.value, "unit": reading.unit, "text": judged.value_text},
        "basis": reading.formula.basis.value,
        "formula": reading.formula.name,
        "formula_says": reading.formula.says,
        "inputs": dict(reading.inputs),
        "relation": reading.relation.value,
        "tolerance": reading.tolerance,
        "relative_error": judged.error if math.isfinite(judged.error) else None,
        "assumption": reading.assumption if judged.holds_if else "",
        "verdict": judged.verdict.value,
        "why": judged.why,
    }


def check_json(found: Check) -> dict[str, Any]:
    """What was read in the sentence, the best match, the plain reading and the other matches."""
    words = found.words
    return {
        "text": found.text,
        "read": {
            "quantity": {"value": words.quantity.value, "unit": words.quantity.unit, "kind": words.quantity.kind},
            "per_token": words.quantity.per_token,
            "models": list(words.models),
            "context_tokens": list(words.context.tokens) if words.context else [],
            "cache_dtype": words.dtype,
            "users": words.users,
            "device": words.device,
            "devices": words.devices,
        },
        "tried": found.tried,
        "best": _match(found.best),
        "as_written": _match(found.plain) if found.plain else None,
        "others": [_match(one) for one in found.others],
    }


def _match(match: Match) -> dict[str, Any]:
    reading = match.reading
    return {
        "value": match.value,
        "unit": match.unit,
        "basis": "derived",
        "reproduced": match.exact,
        "relative_error": match.error,
        "formula": reading.formula,
        "model": reading.model,
        "cache_dtype": reading.dtype,
        "context_tokens": reading.context_tokens,
        "assumptions": list(match.assumptions),
    }
