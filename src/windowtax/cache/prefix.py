"""The prefix index: which whole blocks of earlier prompts are kept, who uses them, and which goes when room is needed.

A block is named by a hash over its tokens and its predecessor's name, so equal names mean equal prefixes (vLLM design
document "Automatic Prefix Caching"; the same idea as a radix tree, Zheng et al. 2023, SGLang, arXiv 2312.07104). The
index holds no bytes, reads no clock and knows no sizes: its owner says how many unused blocks may stay, and gets back
those that had to go, so that it can free them or move them to a slower tier.
"""

from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import takewhile

from blake3 import blake3

from windowtax.cache.eviction.base import EVICTION, CachedBlock

_DIGEST_BYTES = 16


def chain_key(parent: bytes, content: bytes) -> bytes:
    """The name of a block: a hash over its predecessor's name and what is in it. b"" is before the first block."""
    return blake3(len(parent).to_bytes(1, "little") + parent + content).digest(_DIGEST_BYTES)


def block_keys(
    token_ids: Sequence[int], block_size: int, fingerprint: bytes = b"", known: Sequence[bytes] = ()
) -> list[bytes]:
    """The names of all whole blocks of a prompt, in order; a last block that is not full has none.

    fingerprint: of everything else that the bytes depend on (model, RoPE, cache dtype, tenant). known: the names of the
    first blocks, where these were made before.
    """
    keys = list(known)
    parent = keys[-1] if keys else _before_all(fingerprint)
    for start in range(len(keys) * block_size, len(token_ids) - block_size + 1, block_size):
        content = array("q", token_ids[start : start + block_size]).tobytes()
        parent = chain_key(parent, content)
        keys.append(parent)
    return keys


def begun_key(token_ids: Sequence[int], known: Sequence[bytes], fingerprint: bytes) -> bytes:
    """The name of a block that is not full, behind the blocks of these names; no whole block is called so."""
    return chain_key(known[-1] if known else _before_all(fingerprint), array("q", token_ids).tobytes())


def _before_all(fingerprint: bytes) -> bytes:
    return blake3(fingerprint).digest(_DIGEST_BYTES) if fingerprint else b""


class PrefixIndex:
    """Kept blocks by name. `capacity`: how many of them may stay that nobody uses; blocks in use are never counted.

    A sequence takes what is there with `acquire`, adds what it computed with `insert`, and gives all of it back with
    `release`; between these it holds one reference on every block of its chain so far.
    """

    def __init__(self, capacity: int, policy: str = "lru") -> None:
        self._rank = EVICTION.get(policy)
        self._blocks: dict[Hashable, CachedBlock] = {}
        self._heap: list[tuple[tuple[int, ...], int, CachedBlock]] = []
        self._capacity = capacity
        self._unused = 0
        self._tick = 0
        self._pushes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._blocks

    @property
    def num_unused(self) -> int:
        """Kept blocks that no sequence uses."""
        return self._unused

    @property
    def capacity(self) -> int:
        """How many unused blocks may stay."""
        return self._capacity

    def get(self, key: Hashable) -> CachedBlock | None:
        """The block of that name."""
        return self._blocks.get(key)

    def blocks(self) -> Iterable[CachedBlock]:
        """All kept blocks."""
        return self._blocks.values()

    def unused(self) -> Iterator[CachedBlock]:
        """The kept blocks that no sequence uses."""
        return (block for block in self._blocks.values() if not block.references)

    def match(self, keys: Iterable[Hashable]) -> int:
        """How many blocks of this chain are kept, from its start without a gap. Takes nothing."""
        return sum(1 for _ in takewhile(self._blocks.__contains__, keys))

    def acquire(self, keys: Sequence[Hashable], start: int = 0) -> int:
        """Takes a reference on each kept block from keys[start] up to the first gap; returns how many those are."""
        self._tick += 1
        blocks, taken = self._blocks, 0
        for key in keys[start:] if start else keys:
            block = blocks.get(key)
            if block is None:
                break
            self._take(block)
            taken += 1
        return taken

    def insert(self, keys: Sequence[Hashable], start: int, end: int) -> None:
        """Files keys[start:end] as computed by a sequence that holds keys[:start], with a reference on each.

        A name that is there already (two sequences computed the same) keeps its block. Raises RuntimeError where the
        predecessor is not kept: the caller did not hold it.
        """
        self._tick += 1
        parent = self._blocks.get(keys[start - 1]) if start else None
        if start and (parent is None or not parent.references):
            raise RuntimeError("a block was filed whose predecessor is not held")
        for depth in range(start, end):
            block = self._blocks.get(keys[depth])
            if block is None:
                block = CachedBlock(keys[depth], parent, depth, self._tick, self._tick)
                self._blocks[keys[depth]] = block
                if parent is not None:
                    parent.children += 1
            else:
                self._take(block)
            parent = block

    def release(self, keys: Sequence[Hashable], end: int) -> list[CachedBlock]:
        """Gives back one reference on each of keys[:end]; returns the blocks that had to go for want of capacity."""
        for depth in range(end - 1, -1, -1):
            block = self._blocks[keys[depth]]
            if not block.references:
                raise RuntimeError(f"block {depth} of a chain is given back but not held")
            block.references -= 1
            if not block.references:
                self._unused += 1
                if not block.children:
                    self._offer(block)
        return self._shrink()

    def resize(self, capacity: int) -> list[CachedBlock]:
        """Sets how many unused blocks may stay; returns those that had to go, in the order in which they went."""
        self._capacity = max(0, capacity)
        return self._shrink() if self._unused > self._capacity else []

    def evict(self) -> CachedBlock | None:
        """Lets the unused block of the lowest rank go, and returns it; None where every block is used."""
        if not self._unused:
            return None
        kept, self._capacity = self._capacity, self._unused - 1
        (gone,) = self._shrink()
        self._capacity = kept
        return gone

    def check(self) -> None:
        """Raises RuntimeError unless counters, chains and the order of eviction agree with the blocks there are."""
        children: dict[Hashable, int] = {}
        offers = {number: block for _, number, block in self._heap}
        for block in self._blocks.values():
            if block.parent is not None:
                children[block.parent.key] = children.get(block.parent.key, 0) + 1
                if self._blocks.get(block.parent.key) is not block.parent:
                    raise RuntimeError("a kept block continues one that is gone")
                if block.references > block.parent.references:
                    raise RuntimeError("a block is used by more sequences than its predecessor")
        for block in self._blocks.values():
            if block.children != children.get(block.key, 0):
                raise RuntimeError("a block's children are miscounted")
            if block.evictable != (offers.get(block.offer) is block):
                raise RuntimeError("other blocks are offered for eviction than those that are evictable")
        if self._unused != sum(not block.references for block in self._blocks.values()):
            raise RuntimeError("unused blocks are miscounted")
        if self._unused > self._capacity:
            raise RuntimeError("more unused blocks are kept than may be")

    def _take(self, block: CachedBlock) -> None:
        if not block.references:
            self._unused -= 1
        block.references += 1
        block.uses += 1
        block.last_used = self._tick
        block.offer = 0

    def _offer(self, block: CachedBlock) -> None:
        self._pushes += 1
        block.offer = self._pushes
        heappush(self._heap, (self._rank(block), block.offer, block))
        if len(self._heap) > 4 * len(self._blocks) + 64:
            self._rebuild()

    def _rebuild(self) -> None:
        """Drops stale offers, which pile up where blocks are taken again and again and little is evicted."""
        self._heap = [offer for offer in self._heap if offer[2].offer == offer[1]]
        heapify(self._heap)

    def _shrink(self) -> list[CachedBlock]:
        gone: list[CachedBlock] = []
        while self._unused > self._capacity:
            _, number, block = heappop(self._heap)
            if block.offer != number:
                continue  # it was taken since, and perhaps offered anew
            del self._blocks[block.key]
            self._unused -= 1
            gone.append(block)
            parent = block.parent
            if parent is not None:
                parent.children -= 1
                if parent.evictable:
                    self._offer(parent)
        return gone


def keep_computed(index: PrefixIndex, keys: Sequence[Hashable]) -> int:
    """A whole request at once, for studies of hit rates: found, computed, given back. Returns the blocks found."""
    found = index.acquire(keys)
    index.insert(keys, found, len(keys))
    index.release(keys, len(keys))
    return found
