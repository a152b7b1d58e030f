"""One pass over a trace for the LRU hit rates of many cache sizes at once.

LRU is a stack algorithm: what a cache keeps, every larger one keeps too, so one list in order of last use holds all of
them, each as a prefix of it (Mattson, Gecsei, Slutz and Traiger 1970, "Evaluation techniques for storage hierarchies",
IBM Systems Journal 9(2)). Instead of a distance per block this keeps one marker per size (Kim, Hill and Wood 1991,
"Implementing stack simulation for highly-associative memories", SIGMETRICS): an access costs as many steps as there are
sizes that it misses.

A chain of blocks is looked up as a whole and then used from its last block to its first, so a block is never older
than one that continues it: evicting by age takes chains from their ends, as `PrefixIndex` with "lru" does.
"""

from array import array
from collections.abc import Sequence

from windowtax.base.errors import BadInput


class LruSizes:
    """LRU caches of several sizes, in blocks, that see the same chains. Blocks are named 0, 1, 2, ... by the caller.

    Names above all seen so far are fine. Each block has one predecessor: where [3, 7] was seen, 7 follows 3 always.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
            raise BadInput(f"Cache sizes {list(sizes)} are not rising numbers of blocks.", "Give each size once.")
        self.sizes = tuple(sizes)
        self._count = len(sizes)
        # The list's head is the newest block; _before is towards the head. _zone: the smallest size that keeps a block;
        # _count where none does, -1 where the block was never seen.
        self._before = array("q")
        self._after = array("q")
        self._zone = array("b")
        self._head = self._tail = -1
        self._length = 0
        self._full = 0  # sizes that are full, the smallest ones
        self._markers = [-1] * self._count  # the last block of each full size

    def look_up(self, keys: Sequence[int]) -> list[int]:
        """Per block of the chain, the index of the smallest size that finds it; len(sizes): only an endless one does.

        The list ends before the first block that was never seen. Nothing changes.
        """
        zone, worst = self._zone, 0
        found: list[int] = []
        for key in keys:
            here = zone[key] if key < len(zone) else -1
            if here < 0:
                break
            if here > worst:
                worst = here
            found.append(worst)
        return found

    def use(self, keys: Sequence[int]) -> None:
        """Books the chain as used now, its first block last."""
        for key in reversed(keys):
            self._touch(key)

    def _touch(self, key: int) -> None:
        if key == self._head:
            return
        zones, before, after, markers = self._zone, self._before, self._after, self._markers
        while key >= len(zones):
            zones.append(-1)
            before.append(-1)
            after.append(-1)
        zone = zones[key]
        if 0 <= zone < self._count:
            ahead, behind = before[key], after[key]  # ahead is a block: key is not the head
            if zone < self._full and markers[zone] == key:
                markers[zone] = ahead
                self._push_out(zone)
            else:
                self._push_out(min(zone, self._full))
            after[ahead] = behind
            if behind >= 0:
                before[behind] = ahead
            else:
                self._tail = ahead
            self._to_front(key)
            return
        self._push_out(self._full)
        self._to_front(key)
        self._length += 1
        if self._full == self._count:
            if self._length > self.sizes[-1]:
                self._drop_tail()
        elif self._length == self.sizes[self._full]:
            markers[self._full] = self._tail
            self._full += 1

    def _push_out(self, count: int) -> None:
        """The last block of each of the `count` smallest sizes falls into the next one: a newer block comes before."""
        markers, zones, before = self._markers, self._zone, self._before
        for size in range(count):
            last = markers[size]
            zones[last] = size + 1
            markers[size] = before[last]

    def _to_front(self, key: int) -> None:
        head = self._head
        self._before[key], self._after[key], self._zone[key] = -1, head, 0
        if head >= 0:
            self._before[head] = key
        else:
            self._tail = key
        self._head = key
        # A size of one block ends with the head itself: its marker has just fallen off the list.
        if self._full and self._markers[0] < 0:
            self._markers[0] = key

    def _drop_tail(self) -> None:
        tail = self._tail
        self._tail = self._before[tail]
        self._after[self._tail] = -1
        self._length -= 1
