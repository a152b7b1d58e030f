"""What stays in a full tier, and when loading is worth it."""

from dataclasses import dataclass

import pytest

from windowtax.cache.tiers import DISK, HOST, Books, Offer, Speed, Speeds, choose, rank


@dataclass
class Block:
    last_used_s: float
    depth: int


def keys(*numbers: int) -> list[bytes]:
    return [bytes([number]) for number in numbers]


def test_the_end_of_the_oldest_chain_goes_first() -> None:
    blocks = [Block(2.0, 0), Block(1.0, 0), Block(1.0, 5), Block(2.0, 1)]
    assert [(block.last_used_s, block.depth) for block in sorted(blocks, key=rank)] == [(1, 5), (1, 0), (2, 1), (2, 0)]


def test_books_never_hold_more_than_their_budget() -> None:
    books = Books(100)
    assert books.add(b"a", 40) == [] and books.add(b"b", 40) == []
    assert books.add(b"c", 40) == [b"a"]
    assert books.used_bytes == 80 and b"a" not in books and b"b" in books
    assert books.add(b"d", 101) == [b"d"] and b"d" not in books and len(books) == 2
    assert books.add(b"b", 10) == [] and books.used_bytes == 50
    books.discard(b"c")
    books.discard(b"c")
    assert books.used_bytes == 10


def test_a_chain_that_is_used_stays_and_goes_from_its_end() -> None:
    books = Books(50)
    for key in keys(1, 2, 3, 9, 8):
        books.add(key, 10)
    books.touch(keys(1, 2, 3))
    gone = [books.add(key, 10) for key in keys(20, 21, 22, 23, 24)]
    assert gone == [keys(9), keys(8), keys(3), keys(2), keys(1)]


def test_a_speed_is_unknown_at_first_and_follows_the_machine() -> None:
    speed = Speed()
    assert speed.per_s is None
    speed.book(1000, 0.001)
    assert speed.per_s is None, "a millisecond says nothing"
    for _ in range(50):
        speed.book(1000, 1.0)
    assert speed.per_s == pytest.approx(1000, rel=0.01)
    for _ in range(100):
        speed.book(10, 1.0)
    assert speed.per_s == pytest.approx(10, rel=0.1)


def speeds(prefill: float, host: float, disk: float) -> Speeds:
    known = Speeds()
    known.prefill.book(prefill, 1.0)
    known.tiers[HOST].book(host, 1.0)
    known.tiers[DISK].book(disk, 1.0)
    return known


SHORT = Offer(0, (HOST,) * 2, 64, {HOST: 2000, DISK: 0})
LONG = Offer(0, (HOST, HOST, DISK), 96, {HOST: 2000, DISK: 1000})


@pytest.mark.parametrize(
    ("known", "best"),
    [
        (Speeds(), LONG),  # nothing is known: try
        (speeds(prefill=32, host=10_000, disk=10_000), LONG),
        (speeds(prefill=32, host=10_000, disk=10), SHORT),  # 100 s from disk against 1 s of computing
        (speeds(prefill=1e9, host=10, disk=10), None),
    ],
)
def test_the_load_is_taken_that_saves_most(known: Speeds, best: Offer | None) -> None:
    assert choose([SHORT, LONG], known) is best
    assert choose([LONG, SHORT], known) is best


def test_saved_seconds_are_those_of_the_prefill_less_those_of_the_load() -> None:
    assert speeds(prefill=32, host=1000, disk=500).saved_s(96, LONG.bytes_by_tier) == pytest.approx(3 - (2 + 2))


def test_a_tier_that_was_too_slow_is_tried_again_one_day() -> None:
    known = speeds(prefill=1e9, host=10, disk=10)
    refusals = 0
    while choose([LONG], known) is None:
        refusals += 1
        assert refusals < 100
    assert refusals > 3


def test_nothing_to_load_is_no_reason_to_doubt_a_speed() -> None:
    known = speeds(prefill=1e9, host=10, disk=10)
    for _ in range(100):
        assert choose([], known) is None
    assert known.tiers[DISK].per_s == 10
