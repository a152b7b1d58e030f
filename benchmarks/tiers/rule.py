"""The engine's rule against the clock: at reads slowed down to so many bytes per second, does it load or compute?"""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.kit.pieces import Round, say
from benchmarks.tiers.bench import Prompts, engine_with, first_token, forget, load_model, warm
from benchmarks.tiers.cells import RULE_BYTES_PER_S, RULE_LENGTHS, TAIL_TOKENS

from windowtax.cache.tiers import DEVICE, DISK, Offer
from windowtax.engine.lower import LowerTiers
from windowtax.engine.tiering import TieredCache
from windowtax.store.disk.record import Record


class SlowTiers:
    """The same tiers, behind a link of so many bytes per second that all readers share; None: as fast as it goes."""

    def __init__(self, tiers: LowerTiers) -> None:
        self.bytes_per_s: float | None = None
        self._fetch, self._choose = tiers.fetch, tiers.choose
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._tiers = tiers
        tiers.fetch = self.fetch

    def fetch(self, key: bytes) -> tuple[str, Record] | None:
        """As fast as the link lets it through."""
        found = self._fetch(key)
        if found is not None and self.bytes_per_s is not None:
            with self._lock:
                self._free_at = max(self._free_at, time.perf_counter()) + found[1].payload_bytes / self.bytes_per_s
                wait_s = self._free_at - time.perf_counter()
            time.sleep(max(0.0, wait_s))
        return found

    def decide(self, how: Callable[[Iterable[Offer]], Offer | None] | None) -> None:
        """Somebody else chooses; None: the engine's rule again."""
        self._tiers.choose = self._choose if how is None else how


def load_all(offers: Iterable[Offer]) -> Offer | None:
    """Loads whatever there is."""
    return max(offers, key=lambda one: one.num_tokens, default=None)


def load_nothing(offers: Iterable[Offer]) -> Offer | None:
    """Computes everything."""
    return None


def choices(task: Round, folder: Path) -> Round:
    """By length and rate: the seconds of loading and of computing, and what the engine chose when it knew both."""
    model = load_model(task)
    prompts = Prompts(model)
    cells: list[Round] = []
    with engine_with(model, task, ssd=folder) as engine:
        assert isinstance(engine.cache, TieredCache)
        warm(engine, prompts)
        slow = SlowTiers(engine.cache.lower)
        prefixes = {tokens: prompts.take(tokens) for tokens in RULE_LENGTHS}
        for prefix in prefixes.values():
            first_token(engine, prefix, prompts.take(TAIL_TOKENS))
        for rate in RULE_BYTES_PER_S:
            slow.bytes_per_s = rate
            for tokens, prefix in prefixes.items():
                cell: Round = {"tokens": tokens, "link_bytes_per_s": rate}
                for name, how in (("compute", load_nothing), ("load", load_all), ("chosen", None)):
                    slow.decide(how)
                    forget(engine)
                    cell[name] = first_token(engine, prefix, prompts.take(TAIL_TOKENS))
                cell["loaded"] = bool(cell["chosen"]["cached"].get(DISK))
                cell["on_device"] = cell["compute"]["cached"].get(DEVICE, 0)
                cells.append(cell | _known(engine.cache.lower))
                say(f"  {tokens} at {rate}: {_line(cell)}")
        layout = engine.cache.layout
    return {"choices": cells, "bytes_per_token": layout.growth_bytes_per_token}


def _known(tiers: LowerTiers) -> dict[str, Any]:
    speeds = tiers.speeds
    return {"prefill_tokens_per_s": speeds.prefill.per_s, "disk_bytes_per_s": speeds.tiers[DISK].per_s}


def _line(cell: Round) -> str:
    times = ", ".join(f"{name} {cell[name]['ttft_s'] * 1e3:,.0f} ms" for name in ("compute", "load", "chosen"))
    return f"{times}; {'loaded' if cell['loaded'] else 'computed'}"
