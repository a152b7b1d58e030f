"""Law 5 across a restart: what comes back from disk or host RAM gives the tokens of a cold start, and is reused."""

from pathlib import Path

import pytest
from tests.cases.families import save_tiny
from tests.contracts.test_prefix_hits_agree import BACKENDS, OUTPUT, PROMPTS
from tests.contracts.test_ways_agree import _greedy_until_narrow, _same
from tests.engine.harness import greedy
from tests.native.harness import load_native

from windowtax.engine.engine import Engine
from windowtax.engine.load import load_model
from windowtax.engine.session import EngineOptions, open_shared_engine
from windowtax.engine.tier_options import TierOptions

FAMILIES = ("llama", "gemma3", "qwen3.5, states")


def _answers(engine: Engine) -> tuple[list[list[int]], list[dict[str, int]]]:
    outputs: list[list[int]] = []
    tiers: list[dict[str, int]] = []
    for prompt in PROMPTS:
        request = engine.add(prompt, greedy(OUTPUT))
        while request.finish_reason is None:
            engine.step()
        outputs.append(request.output_ids)
        tiers.append(request.cached_tokens_by_tier)
    return outputs, tiers


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cache_dtype", ["fp32", "k4v4"])
def test_after_a_restart(tmp_path: Path, family: str, backend: str, cache_dtype: str) -> None:
    theirs = save_tiny(family, tmp_path / "model")
    load = load_native if backend == "native" else lambda folder: load_model(folder, dtype="fp32")
    model = load(tmp_path / "model")
    options = EngineOptions(cache_dtype=cache_dtype, step_tokens=64, limit_bytes=64 << 20)
    tiers = TierOptions(ram_bytes=8 << 20, ssd=tmp_path / "kept", ssd_bytes=64 << 20)
    first = open_shared_engine(model, 256, options, max_sequences=4, tiers=tiers)
    before, _ = _answers(first)
    first.close()
    second = open_shared_engine(model, 256, options, max_sequences=4, tiers=tiers)
    after, found = _answers(second)
    second.close()
    assert after == before
    assert found[0]["disk"] > 0, "restore succeeded, reuse zero"
    if cache_dtype == "fp32":
        _same(after, [_greedy_until_narrow(theirs, prompt)[:OUTPUT] for prompt in PROMPTS])
