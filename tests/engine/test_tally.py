"""What a prompt token takes: not told by requests that found nearly all of theirs in the cache."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from windowtax.engine.request import FinishReason, Meter, Request
from windowtax.engine.tally import Tally


def ended(tally: Tally, name: str, tokens: int, seconds: float) -> Meter:
    meter = Meter(arrived=0.0, prefill_tokens=tokens, prefill_s=seconds)
    sequence = dict.fromkeys(("num_preemptions", "num_moves", "moved_bytes", "num_recomputed_tokens"), 0)
    request: Any = SimpleNamespace(
        request_id=name,
        meter=meter,
        sequence=SimpleNamespace(num_prompt_tokens=8192, **sequence),
        cached_tokens_by_tier={},
    )
    tally.ended(cast(Request, request), FinishReason.STOP)
    return meter


def test_a_full_hit_does_not_tell_the_rate_of_prompts() -> None:
    tally = Tally()
    hit = ended(tally, "hit", 1, 0.02)
    assert hit.prefill_s_per_token is None and tally.prefill_s_per_token is None
    cold = ended(tally, "cold", 8192, 2.0)
    ended(tally, "hit again", 1, 0.02)
    assert tally.prefill_s_per_token == cold.prefill_s_per_token == pytest.approx(2.0 / 8192)
    assert tally.prefill_tokens == 8194 and tally.prefill_s == pytest.approx(2.04)
