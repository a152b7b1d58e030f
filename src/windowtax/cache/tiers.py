"""Policy of the tiers below the device: what stays in a tier that is full, and whether loading beats computing again.

No bytes here, and no clock: whoever moves bytes books how long that took.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

DEVICE, HOST, DISK = "device", "host", "disk"
"""The tiers, fastest first."""

_MEMORY_S = 10.0
_KNOWN_S = 0.002


class Kept(Protocol):
    """What is known of a block in a slow tier."""

    @property
    def last_used_s(self) -> float: ...
    @property
    def depth(self) -> int: ...


def rank(block: Kept) -> tuple[float, ...]:
    """Least recently used goes first; of blocks used together the one furthest from the start: nothing follows it."""
    return block.last_used_s, -block.depth


class Books:
    """Which keys are in a tier of so many bytes, the least recently used first."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._sizes: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, key: bytes) -> bool:
        return key in self._sizes

    def add(self, key: bytes, num_bytes: int) -> list[bytes]:
        """Books a block; returns those that must go for it, and `key` itself where it is larger than the tier."""
        self.discard(key)
        if num_bytes > self.budget_bytes:
            return [key]
        gone = self._make_room(num_bytes)
        self._sizes[key] = num_bytes
        self.used_bytes += num_bytes
        return gone

    def shrink(self, num_bytes: int) -> list[bytes] | None:
        """Takes so many bytes off the budget; returns those that must go for it, None where it is not that large."""
        if num_bytes > self.budget_bytes:
            return None
        self.budget_bytes -= num_bytes
        return self._make_room(0)

    def lend(self, num_bytes: int) -> bool:
        """The same, for books that hold nothing."""
        return self.shrink(num_bytes) is not None

    def take_back(self, num_bytes: int) -> None:
        """Adds to the budget again what was lent."""
        self.budget_bytes += num_bytes

    def touch(self, chain: Sequence[bytes]) -> None:
        """Books a use of a chain's blocks; the first of them is the last to go."""
        for key in reversed(chain):
            if key in self._sizes:
                self._sizes.move_to_end(key)

    def discard(self, key: bytes) -> None:
        self.used_bytes -= self._sizes.pop(key, 0)

    def _make_room(self, num_bytes: int) -> list[bytes]:
        gone: list[bytes] = []
        while self.used_bytes + num_bytes > self.budget_bytes:
            victim, size = self._sizes.popitem(last=False)
            self.used_bytes -= size
            gone.append(victim)
        return gone


@dataclass(slots=True)
class Speed:
    """A measured rate: of the last seconds of work, so that it follows a machine that gets busy or idle."""

    _amount: float = 0.0
    _seconds: float = 0.0

    @property
    def per_s(self) -> float | None:
        """Units per second; None until enough was measured."""
        return self._amount / self._seconds if self._seconds >= _KNOWN_S else None

    def book(self, amount: float, seconds: float) -> None:
        """Adds a measurement; what is older than `_MEMORY_S` seconds of work fades."""
        fade = max(0.0, 1 - seconds / _MEMORY_S) if self._seconds + seconds > _MEMORY_S else 1.0
        self._amount = self._amount * fade + amount
        self._seconds = self._seconds * fade + seconds

    def forget(self) -> None:
        """Trusts the past half as much: a rate that keeps something from being done again would never be corrected."""
        self._amount /= 2
        self._seconds /= 2


@dataclass(slots=True)
class Speeds:
    """prefill: tokens per second. tiers: bytes per second of loading by all readers, with checks and copies.

    saving, restoring: bytes per second of copying a preempted sequence's blocks to host RAM, and back.
    """

    prefill: Speed = field(default_factory=Speed)
    saving: Speed = field(default_factory=Speed)
    restoring: Speed = field(default_factory=Speed)
    tiers: dict[str, Speed] = field(default_factory=lambda: {HOST: Speed(), DISK: Speed()})

    def load_s(self, bytes_by_tier: Mapping[str, int]) -> float | None:
        """Seconds of a load; None where a speed is not known."""
        seconds = 0.0
        for tier, size in bytes_by_tier.items():
            rate = self.tiers[tier].per_s
            if size and rate is None:
                return None
            seconds += size / rate if rate else 0.0
        return seconds

    def saved_s(self, num_tokens: int, bytes_by_tier: Mapping[str, int]) -> float | None:
        """Seconds of prefill that a load spares, less its own; None where a speed is not known."""
        load_s, rate = self.load_s(bytes_by_tier), self.prefill.per_s
        return None if load_s is None or rate is None else num_tokens / rate - load_s

    def moves(self, num_bytes: int, num_tokens: int) -> bool:
        """Whether bytes are copied to host RAM and back faster than tokens are computed again.

        True where a speed is not known: moving is how it comes to be.
        """
        saving, restoring, prefill = self.saving.per_s, self.restoring.per_s, self.prefill.per_s
        if saving is None or restoring is None or prefill is None:
            return True
        if num_bytes / saving + num_bytes / restoring < num_tokens / prefill:
            return True
        for speed in (self.saving, self.restoring, self.prefill):
            speed.forget()
        return False


@dataclass(frozen=True, slots=True)
class Offer:
    """A load that could be made: blocks of a chain from depth `start` on. tiers: where each lies.

    num_tokens: what it spares computing. bytes_by_tier: what it reads.
    """

    start: int
    tiers: tuple[str, ...]
    num_tokens: int
    bytes_by_tier: Mapping[str, int]


def choose(offers: Iterable[Offer], speeds: Speeds) -> Offer | None:
    """The load that saves the most time; the longest where speeds are not known yet; None where computing is faster."""
    best, best_s = None, 0.0
    known = list(offers)
    for offer in known:
        saved_s = speeds.saved_s(offer.num_tokens, offer.bytes_by_tier)
        if saved_s is None:
            return max(known, key=lambda one: one.num_tokens)
        if saved_s > best_s:
            best, best_s = offer, saved_s
    if known and best is None:
        for speed in (*speeds.tiers.values(), speeds.prefill):
            speed.forget()
    return best
