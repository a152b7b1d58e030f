"""Prompt lookup: drafts come from the text, a repetitive answer takes fewer steps, and the bill says so."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases.families import save_tiny
from tests.engine.harness import greedy, make_engine
from windowtax.engine.load import load_model
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.speculate import NGRAMS, PromptLookup


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 6))
def test_a_draft_is_what_followed_the_newest_earlier_tail(tokens: list[int], num_tokens: int) -> None:
    lookup = PromptLookup(tokens)
    lookup.learn(100, 100)  # as many as are wanted, since they were right
    expected: list[int] = []
    for length in NGRAMS:
        tail = tokens[len(tokens) - length :] if len(tokens) >= length else None
        ends = [e for e in range(length, len(tokens)) if tokens[e - length : e] == tail]
        if ends:
            expected = tokens[ends[-1] : ends[-1] + num_tokens]
            break
    assert lookup.draft(num_tokens) == expected
    assert lookup.draft(num_tokens) == expected, "looking twice changes nothing"


def test_guesses_grow_while_they_are_right_and_shrink_when_they_are_not() -> None:
    lookup = PromptLookup([1, 2, 3, *range(10, 30), 1, 2, 3])
    lengths: list[int] = []
    for num_accepted in (10, 10, 10, 10, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0):
        lengths.append(len(lookup.draft(10)))
        lookup.learn(lengths[-1], min(num_accepted, lengths[-1]))
    assert lengths[:4] == sorted(lengths[:4]) and lengths[0] < lengths[4] == 10
    assert lengths[5:] == sorted(lengths[5:], reverse=True)
    assert len(lookup.draft(10)) == 1, "one guess goes on, so that a text that begins to repeat itself is noticed"


def test_a_loop_is_guessed_and_the_ledger_still_agrees(tmp_path: Path) -> None:
    """A tiny random model soon repeats itself: then most guesses are right."""
    save_tiny("llama", tmp_path)
    model = load_model(tmp_path, dtype="fp32")
    prompt, runs = [5, 6, 7, 8] * 10, {}
    for draft_tokens in (0, 8):
        engine = make_engine(model, 200, block_size=16, draft_tokens=draft_tokens)
        request = engine.add(prompt, greedy(150))
        while engine.has_work:
            engine.step()
        meter = request.meter
        runs[draft_tokens] = request.output_ids, meter.decode_steps
        assert meter.decode_steps + meter.accepted_tokens == 149
        held = engine.cache.layout.peak_blocks_of_steps(meter.steps)
        assert engine.cache.layout.pool_bytes(held) == meter.peak_bytes
    assert runs[0][0] == runs[8][0]
    assert runs[8][1] < runs[0][1]


@pytest.mark.parametrize("change", [{"temperature": 0.8, "seed": 1}, {"repetition_penalty": 1.2}])
def test_what_is_not_plainly_greedy_is_not_guessed(tmp_path: Path, change: dict[str, float]) -> None:
    save_tiny("llama", tmp_path)
    engine = make_engine(load_model(tmp_path, dtype="fp32"), 80, draft_tokens=8)
    request = engine.add([5, 6, 7, 8] * 8, SamplingParams(max_tokens=20, ignore_eos=True, **change))
    while engine.has_work:
        engine.step()
    assert request.meter.drafted_tokens == 0
    assert len(request.output_ids) == 20
