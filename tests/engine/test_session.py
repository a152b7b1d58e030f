"""Admission: what cannot fit is refused from the files alone, with the sum, before a weight is read."""

from pathlib import Path

import pytest

from tests.cases.families import save_tiny
from tests.engine.harness import greedy
from windowtax.base.errors import BadInput, DoesNotFit
from windowtax.engine import session
from windowtax.engine.load import ModelFiles, open_files
from windowtax.engine.memory import RESERVE_BYTES
from windowtax.engine.session import EngineOptions, admit, open_engine
from windowtax.spec.dtypes import cache_dtype


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    folder = tmp_path_factory.mktemp("model")
    save_tiny("gemma3", folder)
    return open_files(folder, dtype="fp32")


def weight_bytes(files: ModelFiles) -> int:
    options = EngineOptions()
    return files.weight_bytes(files.backend(options.cache_dtype, options.weights))


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(session, "free_bytes", lambda device: free + RESERVE_BYTES)


def test_weights_that_do_not_fit(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, weight_bytes(files) - 1)
    with pytest.raises(DoesNotFit, match=rf"{weight_bytes(files):,} B"):
        admit(files, 8, EngineOptions())


def test_the_largest_window_that_fits_is_named_and_is_right(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    options = EngineOptions(cache_dtype="fp32", step_tokens=16)
    layout = files.spec.layout(cache_dtype("fp32"))
    need = layout.pool_bytes_for(200, 16)
    with_free(monkeypatch, weight_bytes(files) + need)
    admit(files, 200, options)
    with_free(monkeypatch, weight_bytes(files) + need - 1)
    with pytest.raises(DoesNotFit, match=rf"{need:,} B.*the most that fits is (\d+) tokens") as refused:
        admit(files, 200, options)
    largest = int(str(refused.value).split("the most that fits is ")[1].split(" ")[0].replace(",", ""))
    admit(files, largest, options)
    with pytest.raises(DoesNotFit):
        admit(files, largest + 1, options)


def test_a_limit_counts_even_where_memory_is_free(files: ModelFiles) -> None:
    with pytest.raises(DoesNotFit, match="free for it"):
        admit(files, 200, EngineOptions(limit_bytes=1000))


def test_a_dtype_that_is_only_planned_is_refused_early(files: ModelFiles) -> None:
    with pytest.raises(BadInput, match="does not store a cache of int4"):
        admit(files, 8, EngineOptions(cache_dtype="int4"))


def test_a_context_beyond_the_pool_is_refused_by_the_engine_too(files: ModelFiles) -> None:
    engine = open_engine(files.load(), 64, EngineOptions(cache_dtype="fp32"))
    with pytest.raises(BadInput, match="this engine's window is 64 tokens"):
        engine.add([5] * 60, greedy(5))


def test_paths_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"neither a \.gguf file nor a folder"):
        open_files(tmp_path / "nothing")
    with pytest.raises(BadInput, match=r"config\.json"):
        open_files(tmp_path)
