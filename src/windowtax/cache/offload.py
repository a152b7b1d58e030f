"""Preempted sequences whose blocks were moved to host RAM: the books of that room, and whether moving is worth it.

A sequence takes with it the blocks that are its alone: the begun one, those of windows, states. Its kept blocks stay in
the pool for as long as nobody needs the room, and are saved when they have to go; room for them is taken at once, so
that whatever was moved can come back, byte for byte. No bytes here, and no clock: who has both overrides `save` and
`load` (engine/offload.py); a simulator takes this class as it is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from windowtax.cache.blocks import BlockBytes
from windowtax.cache.tiers import Speeds

Place = tuple[int, int]
"""A layer group, and the index of a block in a sequence's table of it."""


class Room(Protocol):
    """Bytes of host RAM that can be borrowed."""

    def lend(self, num_bytes: int) -> bool: ...
    def take_back(self, num_bytes: int) -> None: ...


@dataclass(slots=True)
class Offloaded:
    """A sequence that is not in the pool. spans: per group, the first and past-the-last index of its blocks.

    pool_blocks: by place, where its own blocks lie before they are moved. keys: the names of its kept blocks, from the
    first one on. named: places of those that it reads. private_bytes: that nobody else uses, own and named;
    private_tokens: likewise. has_states: whether its states are those behind its tokens.
    """

    num_computed: int
    spans: Sequence[tuple[int, int]]
    pool_blocks: Mapping[Place, int]
    keys: Sequence[bytes] = ()
    named: Sequence[Place] = ()
    private_bytes: int = 0
    private_tokens: int = 0
    has_states: bool = True
    own: dict[Place, bytes] = field(default_factory=dict[Place, bytes])


class OffloadSpace:
    """Room in host RAM for preempted sequences. block_bytes: of one block, per group; speeds: as measured so far."""

    def __init__(self, room: Room, block_bytes: Sequence[int], speeds: Speeds) -> None:
        self.speeds = speeds
        self.saved_bytes = self.loaded_bytes = 0
        self._room = room
        self._block_bytes = block_bytes
        self._sequences: dict[str, Offloaded] = {}
        self._wanted: Counter[tuple[bytes, int]] = Counter()
        self._caught: dict[tuple[bytes, int], bytes] = {}

    def __contains__(self, sequence_id: str) -> bool:
        return sequence_id in self._sequences

    @property
    def held_bytes(self) -> int:
        """Bytes of the room that are taken: by what is here, and by what comes here when the pool needs its blocks."""
        own = self._bytes_of(group for one in self._sequences.values() for group, _ in one.pool_blocks)
        return own + self._bytes_of(group for _, group in self._wanted)

    @property
    def moved_s(self) -> float:
        """Seconds that all copies took, at today's rates; 0 of what has no rate yet."""
        copies = ((self.saved_bytes, self.speeds.saving.per_s), (self.loaded_bytes, self.speeds.restoring.per_s))
        return sum(num_bytes / rate for num_bytes, rate in copies if rate)

    def bind(self, store: BlockBytes) -> None:
        """Says where the blocks' bytes are."""

    def get(self, sequence_id: str) -> Offloaded:
        """What is known of a sequence that was moved here."""
        return self._sequences[sequence_id]

    def add(self, sequence_id: str, sequence: Offloaded) -> bool:
        """Moves a sequence's own blocks here, where that pays and there is room for all it may come to."""
        names = _names(sequence)
        need = self._bytes_of(group for key, group in names if (key, group) not in self._wanted)
        need += self._bytes_of(group for group, _ in sequence.pool_blocks)
        if not self.speeds.moves(sequence.private_bytes, sequence.private_tokens) or not self._room.lend(need):
            return False
        for place, block in sequence.pool_blocks.items():
            sequence.own[place] = self._save(place[0], block)
        self._wanted.update(names)
        self._sequences[sequence_id] = sequence
        return True

    def catch(self, key: bytes, group: int, block: int) -> None:
        """Saves a kept block that is about to be given to others, if a sequence here still needs it."""
        name = key, group
        if name in self._wanted and name not in self._caught:
            self._caught[name] = self._save(group, block)

    def fetch(self, sequence: Offloaded, place: Place, block: int) -> bool:
        """Copies what belongs in a place of its table into a pool block; False where nothing is here for it."""
        group, depth = place
        data = sequence.own.get(place)
        if data is None and depth < len(sequence.keys):
            data = self._caught.get((sequence.keys[depth], group))
        if data is None:
            return False
        self.load(group, block, data)
        self.loaded_bytes += self._block_bytes[group]
        return True

    def drop(self, sequence_id: str) -> None:
        """Lets go of what a sequence had here; one that has nothing here is no error."""
        sequence = self._sequences.pop(sequence_id, None)
        if sequence is None:
            return
        freed = self._bytes_of(group for group, _ in sequence.pool_blocks)
        for name in _names(sequence):
            self._wanted[name] -= 1
            if not self._wanted[name]:
                del self._wanted[name]
                self._caught.pop(name, None)
                freed += self._block_bytes[name[1]]
        self._room.take_back(freed)

    def save(self, group: int, block: int) -> bytes:
        """The bytes of a pool block."""
        return b""

    def load(self, group: int, block: int, data: bytes) -> None:
        """Writes such bytes into a pool block."""

    def _save(self, group: int, block: int) -> bytes:
        self.saved_bytes += self._block_bytes[group]
        return self.save(group, block)

    def _bytes_of(self, groups: Iterable[int]) -> int:
        return sum(self._block_bytes[group] for group in groups)


def _names(sequence: Offloaded) -> set[tuple[bytes, int]]:
    return {(sequence.keys[depth], group) for group, depth in sequence.named}
