"""Any order of writes, reads, restarts, damage and clearing: a read gives the bytes that were written, or nothing."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.store.test_tiers_disk import key_of, numbers_in, opened, record_of, segments

BUDGET = 60_000
NUMBERS = st.integers(0, 39)


class DiskMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.tier = opened(self.folder, BUDGET)
        self.pinned: set[int] = set()
        self.damaged = False

    @rule(number=NUMBERS, num_bytes=st.sampled_from([400, 1000, 5000]))
    def put(self, number: int, num_bytes: int) -> None:
        assert self.tier.put(record_of(number, num_bytes))
        assert self.tier.find(key_of(number)) is not None

    @rule(number=NUMBERS)
    def read(self, number: int) -> None:
        there = self.tier.find(key_of(number)) is not None
        assert (numbers_in(self.tier, [number]) == [number]) == there or self.damaged

    @rule(numbers=st.lists(NUMBERS, max_size=5))
    def touch(self, numbers: list[int]) -> None:
        self.tier.touch([key_of(number) for number in numbers])

    @precondition(lambda self: len(self.pinned) < 3)
    @rule(number=NUMBERS)
    def pin(self, number: int) -> None:
        self.tier.flush()
        if numbers_in(self.tier, [number]):
            self.pinned.add(number)
            self.tier.folder.set_pins(frozenset(key_of(one) for one in self.pinned))

    @rule(keep=st.integers(1, 3))
    def compact(self, keep: int) -> None:
        self.tier.flush()
        self.tier.compact(lambda entry: entry.pinned or entry.depth % 3 != keep)

    @rule(save=st.booleans())
    def restart(self, save: bool) -> None:
        self.tier.close()
        if not save:
            (self.folder / "index").unlink(missing_ok=True)
        self.tier = opened(self.folder, BUDGET)

    @rule(at=st.integers(0, 10**9), cut=st.booleans())
    def damage(self, at: int, cut: bool) -> None:
        self.tier.close()
        files = [path for path in segments(self.folder) if path.stat().st_size]
        if files:
            self.damaged = True
            path = files[at % len(files)]
            data = bytearray(path.read_bytes())
            if cut:
                del data[at % len(data) :]
            else:
                data[at % len(data)] ^= 0x10
            path.write_bytes(data)
        self.tier = opened(self.folder, BUDGET)

    @invariant()
    def within_budget_and_right(self) -> None:
        self.tier.flush()
        assert sum(path.stat().st_size for path in segments(self.folder)) <= BUDGET
        there = numbers_in(self.tier, range(40))
        assert self.damaged or self.pinned <= set(there)

    def teardown(self) -> None:
        self.tier.close()
        shutil.rmtree(self.folder)


TestDisk = DiskMachine.TestCase
TestDisk.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
