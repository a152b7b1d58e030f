"""What nobody foresaw: readers and writers that raise, and folders that another process writes to."""

import logging
from pathlib import Path

import pytest
from tests.store.test_tiers_disk import numbers_in, opened, record_of
from tests.store.tiered import SIZE, Machine

from windowtax.cache.tiers import rank
from windowtax.engine.tier_options import TierOptions, open_tiers
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import CACHE_DTYPES
from windowtax.store.disk.record import Record
from windowtax.store.disk.tier import DiskTier

PROMPT = [(7 * i) % 1000 for i in range(67)]


def test_a_reader_that_raises_costs_its_blocks_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT)
    first.close()
    again = Machine(tmp_path)
    assert again.disk is not None
    third = again.cache.keys_of(PROMPT, "")[2]
    read = again.disk.read

    def broken(key: bytes) -> Record | None:
        if key == third:
            raise MemoryError("no room for a block")
        return read(key)

    monkeypatch.setattr(again.disk, "read", broken)
    assert again.run(PROMPT)["disk"] == 2 * SIZE
    again.close()


def test_a_writer_that_raises_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(record: Record) -> list[bytes]:
        raise ValueError("a record that cannot be packed")

    tier = opened(tmp_path)
    monkeypatch.setattr(logging.getLogger("windowtax"), "propagate", True)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "windowtax.cache"):
        patch.setattr("windowtax.store.disk.writer.pack", broken)
        assert tier.put(record_of(1))
        assert tier.flush(10), "nobody waits for a thread that is gone"
    assert tier.stopped is not None and "cannot be packed" in tier.stopped
    assert "prefixes are not written for now" in caplog.messages
    assert numbers_in(tier, [1]) == [] and tier.counters.dropped_full == 1
    tier.close()


def test_who_may_not_write_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    int8 = CACHE_DTYPES["int8"]
    layout = CacheLayout.of([LayerCache((*int8.vector_planes("k", 2, 8), *int8.vector_planes("v", 2, 8)))], SIZE)
    holder = DiskTier(tmp_path, None, fingerprint=bytes(16), rank=rank)
    monkeypatch.setattr(logging.getLogger("windowtax"), "propagate", True)
    with caplog.at_level(logging.WARNING, "windowtax.cache"):
        lower = open_tiers(TierOptions(ssd=tmp_path, ssd_bytes=32 << 20), fingerprint=b"x", layout=layout)
    assert lower is not None and lower.disk is not None and lower.disk.read_only
    assert "prefixes are read, not written" in caplog.messages
    lower.close()
    holder.close()
