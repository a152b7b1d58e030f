"""kill -9 in the middle of writes, again and again: what is found afterwards is right, and most of it is found."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.store.test_tiers_disk import key_of, numbers_in, opened

WRITER = """
import sys
from pathlib import Path
from tests.store.test_tiers_disk import opened, record_of
tier = opened(Path(sys.argv[1]), 3_000_000, queue_bytes=1 << 30)
number = int(sys.argv[2])
while True:
    tier.put(record_of(number, 20_000))
    tier.flush() if number % 7 == 0 else None
    print(number, flush=True)
    number += 1
"""
ROUNDS = 12


def test_no_kill_ever_leaves_a_wrong_byte(tmp_path: Path) -> None:
    first, root = 0, Path(__file__).parents[2]
    found_after: list[int] = []
    for n in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(first)], stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert child.stdout is not None
        # Killed after another number of records each time; past the 130th the budget's cleaner works too.
        lines = [int(child.stdout.readline()) for _ in range(25 + 37 * (n % 5))]
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        last = lines[-1]
        tier = opened(tmp_path, 3_000_000)
        assert not tier.read_only, "the lock died with its holder"
        there = numbers_in(tier, range(last + 3000))
        assert tier.counters.corrupt_records == 0
        assert sum(path.stat().st_size for path in (tmp_path / "segments").iterdir()) <= 3_000_000
        flushed = (last - 1) // 7 * 7
        if flushed >= first:
            assert tier.find(key_of(flushed)) is not None, "what was flushed is there"
        found_after.append(len(there))
        first = max(there, default=0) + 1
        tier.close()
    assert min(found_after) >= 15
