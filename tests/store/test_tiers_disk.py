"""Records in segment files: every byte comes back or nothing does, whatever happens to files, disk or process."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from windowtax.base.errors import BadInput
from windowtax.cache.tiers import rank
from windowtax.store.disk.record import ROOT, Record, pack, unpack, unpack_head
from windowtax.store.disk.tier import DiskTier

FINGERPRINT = b"f" * 16


def key_of(number: int) -> bytes:
    return hashlib.md5(str(number).encode()).digest()


def payload_of(number: int, num_bytes: int = 1000) -> bytes:
    return hashlib.shake_128(str(number).encode()).digest(num_bytes)


def record_of(number: int, num_bytes: int = 1000) -> Record:
    """Records 0, 1, 2 ... are a chain. The middle one of three groups has no part."""
    data = payload_of(number, num_bytes)
    parent = key_of(number - 1) if number else ROOT
    return Record(
        key_of(number), parent, FINGERPRINT, number, [number, 5], (data[:300], None, data[300:]), 1e9 + number
    )


class Clock:
    def __init__(self) -> None:
        self.now = 2e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


def opened(folder: Path, budget_bytes: int | None = None, **options: object) -> DiskTier:
    return DiskTier(folder, budget_bytes, fingerprint=FINGERPRINT, rank=rank, clock=Clock(), **options)  # type: ignore[arg-type]


def numbers_in(tier: DiskTier, numbers: Sequence[int]) -> list[int]:
    """Those that can be read; each that can is checked byte for byte."""
    there: list[int] = []
    for number in numbers:
        record = tier.read(key_of(number))
        if record is not None:
            assert b"".join(bytes(part) for part in record.parts if part is not None) == payload_of(
                number, record.payload_bytes
            )
            assert (record.parts[1], record.depth, list(record.token_ids)) == (None, number, [number, 5])
            there.append(number)
    return there


def fill(folder: Path, count: int, budget_bytes: int | None = None, num_bytes: int = 1000) -> None:
    tier = opened(folder, budget_bytes)
    for number in range(count):
        assert tier.put(record_of(number, num_bytes))
    tier.close()


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "segments").iterdir())


def test_a_record_unpacks_to_what_was_packed_and_any_flipped_bit_is_seen() -> None:
    record = record_of(3)
    data = b"".join(pack(record))
    found = unpack(data)
    assert found is not None and len(data) % 64 == 0
    head, parts = found
    assert (head.key, head.parent, head.depth, head.mask) == (record.key, record.parent, 3, 0b101)
    assert parts[0] == record.parts[0] and parts[1] is None and parts[2] == record.parts[2]
    used = head.head_bytes + head.payload_bytes
    for at in range(0, used, 7):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        assert unpack(flipped) is None, at
        assert unpack(data[:at]) is None
        assert (unpack_head(flipped) is None) == (at < head.head_bytes)


def test_a_record_is_found_at_once_and_after_a_restart(tmp_path: Path) -> None:
    tier = opened(tmp_path)
    assert tier.put(record_of(0)) and tier.find(key_of(0)) is not None
    assert numbers_in(tier, [0, 1]) == [0]
    assert tier.flush(10) and numbers_in(tier, [0]) == [0]
    tier.touch([key_of(0)])
    tier.close()
    again = opened(tmp_path)
    entry = again.find(key_of(0))
    assert entry is not None and entry.hits == 1 and entry.last_used_s > 2e9
    assert numbers_in(again, [0]) == [0]
    again.close()


@pytest.mark.parametrize("index", ["as it was", "missing", "cut", "flipped", "old"])
def test_the_index_is_rebuilt_from_the_segments(tmp_path: Path, index: str) -> None:
    fill(tmp_path, 3)
    old = (tmp_path / "index").read_bytes()
    tier = opened(tmp_path)
    for number in range(3, 9):
        tier.put(record_of(number))
    tier.close()
    new = (tmp_path / "index").read_bytes()
    change = {
        "as it was": new,
        "cut": new[: len(new) // 2],
        "flipped": new[:-9] + b"?" + new[-8:],
        "old": old,
        "missing": b"",
    }
    (tmp_path / "index").write_bytes(change[index])
    if index == "missing":
        (tmp_path / "index").unlink()
    again = opened(tmp_path)
    assert numbers_in(again, range(10)) == list(range(9))
    again.close()


def test_a_torn_tail_is_cut_and_what_lies_before_it_is_served(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    (path,) = segments(tmp_path)
    size = path.stat().st_size
    (tmp_path / "index").unlink()
    os.truncate(path, size - 700)
    tier = opened(tmp_path)
    assert numbers_in(tier, range(5)) == [0, 1, 2, 3]
    assert path.stat().st_size == size // 5 * 4
    assert tier.counters.damaged_bytes == size // 5 - 700
    tier.put(record_of(4))
    tier.close()
    again = opened(tmp_path)
    assert numbers_in(again, range(5)) == [0, 1, 2, 3, 4]
    again.close()


def test_a_segment_that_somebody_shortened_loses_only_its_end(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    (path,) = segments(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    tier = opened(tmp_path)
    assert numbers_in(tier, range(5)) == [0, 1]
    assert tier.counters.corrupt_records == 3
    tier.close()


@pytest.mark.parametrize("with_index", [True, False])
def test_a_flipped_byte_anywhere_costs_one_record_and_is_never_served(tmp_path: Path, with_index: bool) -> None:
    fill(tmp_path, 6)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    record = len(whole) // 6
    for at in range(0, record, 97):
        data = bytearray(whole)
        data[2 * record + at] ^= 0xFF
        path.write_bytes(data)
        if not with_index:
            (tmp_path / "index").unlink(missing_ok=True)
        tier = opened(tmp_path)
        there = numbers_in(tier, range(6))
        head = unpack(whole[2 * record : 3 * record])
        assert head is not None
        in_padding = at >= head[0].head_bytes + head[0].payload_bytes
        assert there == ([0, 1, 2, 3, 4, 5] if in_padding else [0, 1, 3, 4, 5])
        # It is handed in again, and this time it stays.
        if not in_padding:
            assert tier.put(record_of(2)) and tier.flush(10)
            assert numbers_in(tier, [2]) == [2]
        tier.close()
        for extra in segments(tmp_path)[1:]:
            extra.unlink()
        (tmp_path / "index").unlink()


def test_the_budget_is_never_exceeded_and_the_oldest_ends_of_chains_go_first(tmp_path: Path) -> None:
    budget = 100_000
    tier = opened(tmp_path, budget)
    for number in range(40):
        tier.put(record_of(number))
    tier.flush(10)
    for number in range(40, 300):
        tier.touch([key_of(n) for n in range(10)])
        assert tier.put(record_of(number))
        tier.flush(10)
        assert sum(path.stat().st_size for path in segments(tmp_path)) <= budget
    there = numbers_in(tier, range(300))
    assert there[:10] == list(range(10)), "what is used again and again stays"
    assert there[-30:] == list(range(270, 300)), "and so does what came last"
    assert tier.counters.evicted_records == 300 - len(there)
    assert len(there) * 1200 > budget // 2
    tier.close()
    again = opened(tmp_path, budget)
    assert numbers_in(again, range(300)) == there
    again.close()


def test_pinned_records_stay(tmp_path: Path) -> None:
    fill(tmp_path, 10, 100_000)
    tier = opened(tmp_path, 100_000)
    tier.folder.set_pins(frozenset(key_of(number) for number in range(10)))
    for number in range(10, 300):
        tier.put(record_of(number))
    tier.close()
    again = opened(tmp_path, 100_000)
    assert numbers_in(again, range(10)) == list(range(10))
    again.close()


def test_a_record_that_is_too_large_for_the_budget_is_dropped(tmp_path: Path) -> None:
    tier = opened(tmp_path, 50_000)
    assert not tier.put(record_of(0, 20_000))
    assert tier.counters.dropped_large == 1
    tier.close()


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    tier = opened(tmp_path, queue_bytes=2500)
    with tier.shelf.lock:  # the writer cannot take anything out
        assert [tier.put(record_of(number)) for number in range(4)] == [True, True, False, False]
    assert tier.counters.dropped_busy == 2
    tier.close()
    again = opened(tmp_path)
    assert numbers_in(again, range(4)) == [0, 1]
    again.close()


def test_compacting_takes_out_what_is_let_go(tmp_path: Path) -> None:
    fill(tmp_path, 20, 100_000)
    tier = opened(tmp_path, 100_000)
    before = tier.shelf.file_bytes
    tier.compact(lambda entry: entry.depth % 2 == 0)
    assert tier.shelf.file_bytes == before // 2 == sum(path.stat().st_size for path in segments(tmp_path))
    tier.close()
    (tmp_path / "index").unlink()
    again = opened(tmp_path)
    assert numbers_in(again, range(20)) == list(range(0, 20, 2))
    again.close()


def _second(folder: str, answers: "multiprocessing.Queue[object]", go_on: "multiprocessing.Queue[object]") -> None:
    tier = opened(Path(folder))
    answers.put((tier.read_only, numbers_in(tier, range(20)), tier.put(record_of(50))))
    go_on.get()
    answers.put((tier.find(key_of(11)) is not None, numbers_in(tier, range(20))))
    go_on.get()
    answers.put(numbers_in(tier, range(20)))
    tier.close()


def test_a_second_process_reads_what_the_first_writes_and_harms_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for number in range(10):
        first.put(record_of(number))
    first.flush(10)
    spawn = multiprocessing.get_context("spawn")
    answers, go_on = spawn.Queue(), spawn.Queue()
    child = spawn.Process(target=_second, args=(str(tmp_path), answers, go_on))
    child.start()
    assert answers.get(timeout=60) == (True, list(range(10)), False)
    for number in range(10, 15):
        first.put(record_of(number))
    first.flush(10)
    go_on.put(None)
    assert answers.get(timeout=60) == (True, list(range(15)))
    first.compact(lambda entry: entry.depth >= 5)  # under the reader's feet
    go_on.put(None)
    assert set(range(5, 15)) >= set(answers.get(timeout=60)) - set(range(5))  # type: ignore[call-overload]
    child.join(60)
    assert child.exitcode == 0
    first.close()
    again = opened(tmp_path)
    assert not again.read_only and numbers_in(again, range(20)) == list(range(5, 15))
    again.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.store.test_tiers_disk import *
folder = Path(sys.argv[1])
clock = Clock()
tier = DiskTier(folder, None, fingerprint=FINGERPRINT, rank=rank, clock=clock)
for number in range(5):
    tier.put(record_of(number))
tier.flush(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
for number in range(5, 9):
    tier.put(record_of(number))
    tier.flush(10)
print(tier.stopped)
assert numbers_in(tier, range(9)) == list(range(int(sys.argv[2])))
assert tier.counters.dropped_full == 9 - int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert not tier.accepts and not tier.put(record_of(8)), "not yet again"
clock.now += 60
assert tier.accepts and tier.stopped is not None
assert tier.put(record_of(8)) and tier.flush(10) and tier.stopped is None
assert numbers_in(tier, [8]) == [8]
tier.close()
"""


def test_a_full_disk_stops_writing_says_so_keeps_serving_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    record_bytes = sum(map(len, pack(record_of(0))))
    there = 8000 // record_bytes
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(there)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "the system lets no file grow further" in done.stdout
    again = opened(tmp_path)
    assert numbers_in(again, range(9)) == [*range(there), 8]
    again.close()


def test_a_folder_that_cannot_be_used_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be used"):
        opened(tmp_path / "file")
    with pytest.raises(BadInput, match="no folder of kept prefixes"):
        opened(tmp_path / "nothing", read_only=True)


def test_only_the_owner_of_the_folder_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        fill(tmp_path / "kept", 1)
    finally:
        os.umask(old)
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in segments(tmp_path / "kept"))
