"""Preempted sequences in a replay: their blocks go to host memory where that is cheaper than computing them again.

The books are the engine's (cache/offload.py); only rates and room come from the planner's side: copies at the host
tier's bandwidth, computing again at the roofline, and room that the host tier's prefixes give up for as long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from windowtax.cache.offload import OffloadSpace
from windowtax.cache.tiers import Speeds
from windowtax.plan.replay.step_time import StepTimer


class HostRoom:
    """Host memory of one replica, counted in bytes of one rank: every rank keeps its share of a block beside it.

    on_change: hears how many bytes of the whole replica are left, each time that changes.
    """

    def __init__(self, num_bytes: int, ranks: int, on_change: Callable[[int], None] | None = None) -> None:
        self._free_bytes = num_bytes
        self._ranks = ranks
        self._on_change = on_change

    def lend(self, num_bytes: int) -> bool:
        """Takes so many bytes of every rank; False where there are not so many."""
        if num_bytes * self._ranks > self._free_bytes:
            return False
        self._change(-num_bytes)
        return True

    def take_back(self, num_bytes: int) -> None:
        """Has them again."""
        self._change(num_bytes)

    def _change(self, num_bytes: int) -> None:
        if num_bytes:
            self._free_bytes += num_bytes * self._ranks
            if self._on_change is not None:
                self._on_change(self._free_bytes)


@dataclass(slots=True)
class PlannedSpeeds(Speeds):
    """Rates that are planned, not measured, so they never change. timer: tells what computing again takes."""

    timer: StepTimer | None = None

    @classmethod
    def of(cls, bytes_per_s: float, timer: StepTimer) -> "PlannedSpeeds":
        """bytes_per_s: between host memory and one accelerator, each way."""
        speeds = cls(timer=timer)
        for speed in (speeds.saving, speeds.restoring):
            speed.book(bytes_per_s, 1.0)
        return speeds

    def moves(self, num_bytes: int, num_tokens: int) -> bool:
        saving, restoring = self.saving.per_s, self.restoring.per_s
        assert saving is not None and restoring is not None and self.timer is not None
        return num_bytes / saving + num_bytes / restoring < self.timer.prefill_s(num_tokens)


def away_space(room: HostRoom, block_bytes: Sequence[int], bytes_per_s: float, timer: StepTimer) -> OffloadSpace:
    """Where a replica's preempted sequences wait. block_bytes: of one rank, per layer group."""
    return OffloadSpace(room, block_bytes, PlannedSpeeds.of(bytes_per_s, timer))
