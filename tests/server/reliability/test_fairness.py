"""A short prompt behind full windows, counted in steps, so that no clock is asked."""

from dataclasses import replace

import pytest

from windowtax.cache.shared import SharedCache
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel
from windowtax.engine.sampling import SamplingParams
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.dtypes import cache_dtype

WINDOW, STEP = 2048, 64


def steps_to_first_token(model: LoadedModel, num_long: int, *, shares: bool) -> int:
    """Steps from the arrival of a short prompt, in the middle of reading long ones, to its first token."""
    layout = model.spec.layout(cache_dtype("fp32"), 16)
    blocks = [(num_long + 1) * count for count in layout.peak_blocks(WINDOW, STEP)]
    config = SchedulerConfig(max_step_tokens=STEP, max_sequences=16, share_prefill=True)
    engine = Engine(model, SharedCache(layout, blocks), replace(config, share_prefill=shares), WINDOW)
    once = SamplingParams(max_tokens=1, temperature=0, ignore_eos=True)
    for number in range(num_long):
        engine.add([(7 * i + number) % 250 for i in range(WINDOW - 1)], once)
    for _ in range(3):
        engine.step()
    short = engine.add([100 + i for i in range(20)], once)
    steps = 0
    while short.finish_reason is None:
        engine.step()
        steps += 1
    return steps


@pytest.mark.parametrize("num_long", [1, 2, 4, 8])
def test_a_short_prompt_does_not_wait_for_long_ones(model: LoadedModel, num_long: int) -> None:
    assert steps_to_first_token(model, num_long, shares=True) <= 3


def test_without_shares_it_would(model: LoadedModel) -> None:
    assert steps_to_first_token(model, 1, shares=False) > 20
