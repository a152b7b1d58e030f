"""Guessing ahead over a cache that keeps prefixes: drafts that fill a block are computed before they are booked."""

import pytest

from tests.server.harness import load_tiny_chat
from windowtax.cache.shared import SharedCache
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel
from windowtax.engine.request import Request
from windowtax.engine.sampling import SamplingParams
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.dtypes import cache_dtype

SIZE = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny_chat(tmp_path_factory.mktemp("tiny"))


def answered(model: LoadedModel, draft_tokens: int) -> Request:
    layout = model.spec.layout(cache_dtype("fp32"), SIZE)
    blocks = layout.peak_blocks(512, 64)
    engine = Engine(
        model, SharedCache(layout, blocks), SchedulerConfig(max_step_tokens=64), 512, draft_tokens=draft_tokens
    )
    params = SamplingParams(max_tokens=160, temperature=0, ignore_eos=True)
    request = engine.add([7, 8, 9, 10] * 5, params)
    while engine.has_work:
        engine.step()
    engine.cache.check()
    return request


def test_drafts_that_fill_a_block_change_nothing(model: LoadedModel) -> None:
    plain, guessed = answered(model, 0), answered(model, 8)
    assert guessed.output_ids == plain.output_ids
    assert guessed.meter.accepted_tokens > 2 * SIZE, "whole blocks were filled by drafts"
