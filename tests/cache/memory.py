"""What lies behind blocks, for tests of books: lists in place of planes."""

import json
from collections.abc import Sequence

from windowtax.cache.tiers import Books, Speeds
from windowtax.engine.offload import HostSpace
from windowtax.spec.cache import CacheLayout

NOTHING = "nothing"


class Memory:
    """By group and block, what the model of a test wrote there, row by row."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.content: dict[tuple[int, int], list[object]] = {}

    def at(self, group: int, block: int) -> list[object]:
        return self.content.setdefault((group, block), [NOTHING] * self.rows)

    def block_bytes(self, group: int, block_id: int) -> bytes:
        return json.dumps(self.at(group, block_id)).encode()

    def put_block_bytes(self, group: int, block_id: int, data: bytes) -> None:
        self.content[group, block_id] = json.loads(data)

    def copy_block(self, group: int, source: int, target: int) -> None:
        self.content[group, target] = list(self.at(group, source))


def space_of(layout: CacheLayout, budget_bytes: int) -> tuple[HostSpace, Books]:
    """Room for preempted sequences, and the books that it is lent from."""
    books = Books(budget_bytes)
    return HostSpace(books, [layout.block_bytes(group) for group in range(len(layout.groups))], Speeds()), books


def name_of(tokens: Sequence[int]) -> str:
    """What is written for the last of these tokens: it stands for all of them."""
    return ",".join(map(str, tokens))
