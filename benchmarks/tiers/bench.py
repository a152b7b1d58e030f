"""An engine with tiers, and how a prompt's first token is timed in it; in our own process, without a server."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.tiers.cells import TAIL_TOKENS

from windowtax.engine.books import forget_unused
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, open_files
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions
from windowtax.engine.session_shared import open_shared_engine
from windowtax.engine.tier_options import TierOptions
from windowtax.hub import fetch
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS
from windowtax.spec.dtypes import cache_dtype
from windowtax.texts.builtin import python_language_reference

_WARM_TOKENS = 512
_DISK_BYTES = 8 << 30


class Prompts:
    """Prefixes and tails out of a real text, none like another."""

    def __init__(self, model: LoadedModel) -> None:
        assert model.tokenizer is not None
        ids = model.tokenizer.encode(python_language_reference())
        self._ids = ids
        self._next = 0

    def take(self, tokens: int) -> list[int]:
        """The next so many tokens; the text begins again where it ends, shifted by one."""
        if self._next + tokens > len(self._ids):
            self._ids = [*self._ids[1:], self._ids[0]]
            self._next = 0
        found = self._ids[self._next : self._next + tokens]
        assert len(found) == tokens, "the text is too short"
        self._next += tokens
        return found


def load_model(task: dict[str, Any]) -> LoadedModel:
    """The weights as their file has them."""
    files = open_files(fetch.pull(task["model"]), rope=task["rope"])
    return files.load(files.backend(task["cache_dtype"], "stored"))


@contextmanager
def engine_with(
    model: LoadedModel, task: dict[str, Any], *, ssd: Path | None = None, ram_bytes: int = 0
) -> Iterator[Engine]:
    """An engine whose pool holds two such prompts, warmed up; closed, and what it kept written, afterwards."""
    window = task["tokens"] + 2 * TAIL_TOKENS
    pool_bytes = model.spec.layout(cache_dtype(task["cache_dtype"])).bytes_for(2 * window + 2 * DEFAULT_STEP_TOKENS)
    options = EngineOptions(cache_dtype=task["cache_dtype"], limit_bytes=pool_bytes)
    tiers = TierOptions(ram_bytes=ram_bytes, ssd=ssd, ssd_bytes=_DISK_BYTES if ssd else 0)
    engine = open_shared_engine(model, window, options, max_sequences=2, tiers=tiers)
    try:
        yield engine
    finally:
        engine.close()
        del engine
        gc.collect()


def warm(engine: Engine, prompts: Prompts) -> None:
    """The first step of a process pays for what no later one pays for."""
    for _ in range(2):
        first_token(engine, prompts.take(_WARM_TOKENS), [])


def first_token(engine: Engine, prefix: Sequence[int], tail: Sequence[int]) -> dict[str, Any]:
    """TTFT of a prompt in an engine that does nothing else (s), where its cached tokens came from, and its token."""
    request = engine.add([*prefix, *tail], SamplingParams(max_tokens=1, ignore_eos=True))
    for _ in engine.run(request):
        pass
    ttft_s = request.meter.ttft_s
    assert ttft_s is not None
    return {"ttft_s": ttft_s, "cached": dict(request.cached_tokens_by_tier), "token": request.output_ids[0]}


def forget(engine: Engine) -> None:
    """Empties the device; what is kept below stays."""
    forget_unused(engine)
