"""Law 9: every request ends in tokens or in an error that its sender gets; nothing is dropped, and nothing is held."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases.families import save_tiny
from tests.engine.harness import greedy, make_engine

from windowtax.base.errors import WindowtaxError
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.request import FinishReason, Request

WINDOW = 60
asked = st.tuples(st.integers(0, 80), st.integers(1, 20), st.one_of(st.none(), st.integers(0, 30)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("model")
    save_tiny("gemma3", folder)
    return load_model(folder, dtype="fp32")


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(asked, min_size=1, max_size=6), st.sampled_from([5, 16, 64]), st.sampled_from([0, 6]))
def test_tokens_or_an_error(
    model: LoadedModel, requests: list[tuple[int, int, int | None]], step_tokens: int, drafts: int
) -> None:
    """(prompt tokens, output tokens, the step before which it is cancelled), some empty, some far too long."""
    engine = make_engine(model, WINDOW, step_tokens=step_tokens, draft_tokens=drafts)
    taken: list[tuple[Request, int, int | None]] = []
    for num_prompt, num_output, cancelled_at in requests:
        prompt = [3 + i % 150 for i in range(num_prompt)]
        try:
            taken.append((engine.add(prompt, greedy(num_output)), num_output, cancelled_at))
        except WindowtaxError as error:
            assert not prompt or num_prompt + num_output > WINDOW, "refused without a reason"
            assert error.message and error.hint
        else:
            assert 0 < num_prompt + num_output <= WINDOW
    for step in range(3000):
        for request, _, cancelled_at in taken:
            if cancelled_at == step:
                engine.cancel(request.request_id)
        if not engine.has_work:
            break
        engine.step()
        engine.cache.check()
    for request, num_output, cancelled_at in taken:
        if request.finish_reason is FinishReason.CANCELLED:
            assert cancelled_at is not None
        else:
            assert request.finish_reason is FinishReason.LENGTH
            assert len(request.output_ids) == num_output
    assert engine.cache.held_bytes == 0
    assert not engine.requests
