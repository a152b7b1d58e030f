"""Laws 4 and 5 with the native kernels: the logits of transformers, the tokens of torch, whichever way they are
computed.

Every family that runs, and every level of instruction sets that this machine has.
"""

from pathlib import Path

import pytest
import torch
from tests.cases.families import FAMILIES, save_tiny
from tests.contracts.test_ways_agree import LONGEST, OUTPUT, PROMPTS, _greedy_until_narrow, _same
from tests.engine.harness import greedy, make_engine, run_all
from tests.native.harness import BLOCK_SIZE, computes, levels, load_native, native, watch_logits

from windowtax.base.errors import BadInput
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model, open_files

pytestmark = native

Made = tuple[Path, torch.nn.Module]


@pytest.fixture(scope="module", params=FAMILIES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("model")
    return folder, save_tiny(request.param, folder)


@pytest.fixture(scope="module")
def witnessed(made: Made) -> tuple[LoadedModel, list[list[int]]]:
    """The model on native kernels, and transformers' greedy tokens up to the first narrow choice."""
    folder, theirs = made
    return load_native(folder), [_greedy_until_narrow(theirs, prompt) for prompt in PROMPTS]


def _engine(model: LoadedModel, **options: object) -> Engine:
    return make_engine(model, LONGEST, block_size=BLOCK_SIZE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("step_tokens", [3, 64])
def test_logits_are_those_of_transformers(made: Made, level: str, step_tokens: int) -> None:
    folder, theirs = made
    engine = _engine(load_native(folder, level=level), step_tokens=step_tokens)
    seen = watch_logits(engine)
    request = engine.add(PROMPTS[0], greedy(OUTPUT))
    while engine.has_work:
        engine.step()
    tokens = PROMPTS[0] + request.output_ids
    with torch.no_grad():
        expected = theirs(torch.tensor([tokens[:-1]])).logits[0, len(PROMPTS[0]) - 1 :]
    error = (torch.stack(seen) - expected).abs().max() / expected.abs().max()
    assert error < 1e-4


@pytest.mark.parametrize("step_tokens", [1, 5, 16, 256])
def test_in_chunks_of_any_size(witnessed: tuple[LoadedModel, list[list[int]]], step_tokens: int) -> None:
    model, expected = witnessed
    outputs = [run_all(_engine(model, step_tokens=step_tokens), [p], greedy(OUTPUT))[0] for p in PROMPTS]
    _same(outputs, expected)


@pytest.mark.parametrize("step_tokens", [4, 24, 256])
def test_together(witnessed: tuple[LoadedModel, list[list[int]]], step_tokens: int) -> None:
    model, expected = witnessed
    engine = _engine(model, step_tokens=step_tokens, windows=len(PROMPTS))
    _same(run_all(engine, PROMPTS, greedy(OUTPUT)), expected)
    assert engine.cache.held_bytes == 0


@pytest.mark.parametrize("draft_tokens", [0, 4])
def test_preempted_and_with_guesses(witnessed: tuple[LoadedModel, list[list[int]]], draft_tokens: int) -> None:
    model, expected = witnessed
    _same(run_all(_engine(model, step_tokens=16, draft_tokens=draft_tokens), PROMPTS, greedy(OUTPUT)), expected)


LEVERS: dict[str, tuple[str | None, str, float]] = {
    "fp16": (None, "fp16", 1e-2),
    "bf16": (None, "bf16", 1e-2),
    "fp8": (None, "fp8", 3e-2),
    "int8": (None, "int8", 3e-2),
    "k8v4": (None, "k8v4", 3e-2),
    "k4v4": (None, "k4v4", 5e-2),
    "sinks and a window": ("full=sinks:3+window:20", "fp32", 1e-4),
    "sinks and a window, int8": ("full=sinks:3+window:20", "int8", 3e-2),
    "one block of two": ("full=topk:1+block:32", "fp32", 1e-4),
    "all blocks": ("full=topk:9+block:32", "fp32", 1e-4),
}
"""(attention, cache dtype, how far logits may be from torch's with the same lever, relative to the largest)."""


@pytest.mark.parametrize("lever", LEVERS)
@pytest.mark.parametrize("step_tokens", [3, 64])
def test_levers_give_what_torch_gives(tmp_path: Path, lever: str, step_tokens: int) -> None:
    attention, cache_dtype, tolerance = LEVERS[lever]
    save_tiny("qwen3", tmp_path)
    prompt = PROMPTS[2]

    def logits(model: LoadedModel) -> torch.Tensor:
        engine = _engine(model, step_tokens=step_tokens, cache_dtype=cache_dtype)
        seen = watch_logits(engine)
        run_all(engine, [prompt], greedy(1))
        return seen[-1]

    ours = logits(load_native(tmp_path, attention=attention))
    theirs = logits(load_model(tmp_path, dtype="fp32", attention=attention))
    assert (ours - theirs).abs().max() / theirs.abs().max() < tolerance


@pytest.mark.parametrize("family", ["llama", "mistral, window"])
@pytest.mark.parametrize("level", levels())
def test_keys_by_channel_are_seen_as_torch_sees_them(tmp_path: Path, family: str, level: str) -> None:
    """A query sees its own block exactly and earlier ones as they are kept, into whatever chunks the prompt falls."""
    save_tiny(family, tmp_path)
    prompt = PROMPTS[2] + PROMPTS[0]

    def logits(model: LoadedModel, step_tokens: int) -> torch.Tensor:
        options = {"step_tokens": step_tokens, "cache_dtype": "k4v4", "block_size": BLOCK_SIZE}
        engine = make_engine(model, len(prompt) + 4, **options)  # type: ignore[arg-type]
        seen = watch_logits(engine)
        run_all(engine, [prompt], greedy(4))
        return seen[0]

    theirs = logits(load_model(tmp_path, dtype="fp32"), 256)
    model = load_native(tmp_path, level=level)
    # Tiles of AMX multiply in bf16, from eight tokens of a step on; a code on the edge may fall to either side.
    for step_tokens in (1, 3, 7, 8, 31, 32, 45, 256):
        tolerance = 5e-2 if level == "amx" and step_tokens >= 8 else 1e-3
        ours = logits(model, step_tokens)
        assert (ours - theirs).abs().max() / theirs.abs().max() < tolerance, step_tokens


@pytest.mark.parametrize("family", ["llama", "mistral, window"])
@pytest.mark.parametrize("cache_dtype", ["fp32", "bf16", "int8", "k8v4", "k4v4"])
@pytest.mark.parametrize("level", levels())
def test_few_rows_read_what_lies_far_behind_together(tmp_path: Path, family: str, cache_dtype: str, level: str) -> None:
    """A chunk of some rows behind many blocks, as drafts are, reads these once; torch says what must come out."""
    save_tiny(family, tmp_path)
    prompt = [(7 * i * i + 3 * i) % 90 + 5 for i in range(199)]

    def logits(model: LoadedModel, step_tokens: int) -> torch.Tensor:
        options = {"step_tokens": step_tokens, "cache_dtype": cache_dtype, "block_size": BLOCK_SIZE}
        engine = make_engine(model, len(prompt) + 4, **options)  # type: ignore[arg-type]
        seen = watch_logits(engine)
        run_all(engine, [prompt], greedy(1))
        return seen[0]

    tolerance = 1e-4 if cache_dtype == "fp32" else LEVERS[cache_dtype][2]
    theirs = logits(load_model(tmp_path, dtype="fp32"), 256)
    model = load_native(tmp_path, level=level)
    for step_tokens in (2, 7, 11):
        ours = logits(model, step_tokens)
        error = (ours - theirs).abs().max() / theirs.abs().max()
        assert error < tolerance, step_tokens


@pytest.mark.parametrize("attention", [None, "full=sinks:3+window:20", "full=topk:1+block:32"])
def test_levers_do_not_depend_on_the_way(tmp_path: Path, attention: str | None) -> None:
    """Cold in one chunk, in small chunks, and together with others: the same tokens."""
    save_tiny("llama", tmp_path)
    model = load_native(tmp_path, attention=attention)

    def run(step_tokens: int, together: bool) -> list[list[int]]:
        groups = [PROMPTS] if together else [[prompt] for prompt in PROMPTS]
        outputs: list[list[int]] = []
        for group in groups:
            engine = _engine(model, step_tokens=step_tokens, windows=len(group))
            outputs += run_all(engine, group, greedy(6))
        return outputs

    assert run(256, False) == run(5, False) == run(24, True)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_packed_weights_are_planned_to_the_byte(made: Made, weights: str) -> None:
    folder, _ = made
    files = open_files(folder, dtype="bf16")
    if not computes(files.spec):
        with pytest.raises(BadInput, match="need the native kernels"):
            files.backend("bf16", weights)
        return
    backend = files.backend("bf16", weights)
    assert files.weight_bytes(backend) == files.load(backend).weight_bytes


@pytest.mark.parametrize(("weights", "bound"), [("full", 0.02), ("int8", 0.03), ("int4", 0.4)])
def test_quantised_weights_stay_close(tmp_path: Path, weights: str, bound: float) -> None:
    theirs = save_tiny("qwen3", tmp_path)
    engine = _engine(load_native(tmp_path, dtype="bf16", weights=weights))
    seen = watch_logits(engine)
    run_all(engine, [PROMPTS[2]], greedy(1))
    with torch.no_grad():
        expected = theirs(torch.tensor([PROMPTS[2]])).logits[0, -1]
    assert (seen[-1] - expected).norm() / expected.norm() < bound
