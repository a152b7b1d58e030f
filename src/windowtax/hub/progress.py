"""What a pull tells whoever watches it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What a pull is doing."""

    WAIT = "waiting"
    HUB = "hub"
    WHEEL = "wheel"
    CHECK = "check"


@dataclass(frozen=True, slots=True)
class Progress:
    """One report. done_bytes counts bytes of the model's file that are here, out of total_bytes; it can fall when a
    place of supply is given up for the next. detail: which repository or wheel, or why there was a change."""

    stage: Stage
    detail: str
    done_bytes: int
    total_bytes: int


OnProgress = Callable[[Progress], None]


def no_progress(progress: Progress) -> None:
    """For whoever does not watch."""
