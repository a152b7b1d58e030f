"""After a step that raised: each of its sequences is tried alone, so that only those end that cannot be computed."""

from collections import deque
from dataclasses import dataclass, field

from windowtax.engine.engine import Engine
from windowtax.engine.request import Event
from windowtax.schedule.sequence import Status


@dataclass
class Isolated:
    """guilty: by request id, what computing it raised. events: of those that could be computed. num_tried: of both."""

    guilty: dict[str, Exception] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    num_tried: int = 0


def isolate(engine: Engine) -> Isolated:
    """Takes one step with each running sequence by itself; the queues are afterwards as they would have been.

    A sequence that was left with nothing to compute was hit in the middle of being booked, and counts as guilty.
    """
    scheduler, found = engine.scheduler, Isolated()
    suspects, waiting = list(scheduler.running), list(scheduler.waiting)
    try:
        for sequence in suspects:
            scheduler.running, scheduler.waiting = [sequence], deque()
            found.num_tried += 1
            try:
                if sequence.num_uncomputed_tokens < 1:
                    raise RuntimeError("its last step was booked only in part")
                found.events += engine.step()
            except Exception as error:  # whatever it is: it is about this sequence
                found.guilty[sequence.sequence_id] = error
    finally:
        preempted = [sequence for sequence in suspects if sequence.status is Status.WAITING]
        scheduler.running = [sequence for sequence in suspects if sequence.status is Status.RUNNING]
        scheduler.waiting = deque([*preempted, *waiting])
    return found
