"""All replicas of a replay. They share nothing but the trace, so processes can play them, each some of them.

A process gets the trace once, without copying where it can be forked, and hands back numbers; what comes out is what
one process finds, in the same order.
"""

import gc
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from windowtax.plan.replay.deployment import Replica
from windowtax.plan.replay.played import Outcome, Replayed
from windowtax.plan.replay.trace import TraceRequest

_WORTH_PROCESSES = 5_000
"""Fewer requests are played before processes have started."""

Finished = tuple[Replayed, list[int]]
"""One replica's replay, and the blocks that each of its tiers found."""

_Row = tuple[int, float, float, int, int]
"""An outcome by the place of its request in the replica's share."""


def usable_processes(num_requests: int, replicas: int) -> int:
    """How many processes play so many requests on so many replicas soonest."""
    if num_requests < _WORTH_PROCESSES:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, replicas)


def play_all(
    replica: Replica, requests: Sequence[TraceRequest], replicas: int, processes: int | None = None
) -> list[Finished]:
    """One replay per replica that gets a request; they are dealt out round robin. processes: None for a good number."""
    playing = min(replicas, len(requests))
    if processes is None:
        processes = usable_processes(len(requests), playing)
    with _trace_at_rest():
        if processes == 1:
            return [_play(replica, requests[offset::replicas]) for offset in range(playing)]
        found: list[Finished] = []
        with ProcessPoolExecutor(processes, initializer=_begin, initargs=(replica, requests, replicas)) as pool:
            for offset, (replayed, rows, refused, blocks) in enumerate(pool.map(_play_share, range(playing))):
                share = requests[offset::replicas]
                replayed.outcomes += [
                    Outcome(share[place], first_s, finished_s, cached, preemptions)
                    for place, first_s, finished_s, cached, preemptions in rows
                ]
                replayed.refused += [(share[place], why) for place, why in refused]
                found.append((replayed, blocks))
        return found


@contextmanager
def _trace_at_rest() -> Generator[None]:
    """The trace is not garbage: nobody need look through its millions of objects again and again."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _play(replica: Replica, share: Sequence[TraceRequest]) -> Finished:
    simulator, prefix = replica.simulator()
    replayed = simulator.run(share)
    return replayed, [] if prefix is None else prefix.found_blocks


# --- inside a process -------------------------------------------------------------------------------------------

_given: list[tuple[Replica, Sequence[TraceRequest], int]] = []


def _begin(replica: Replica, requests: Sequence[TraceRequest], replicas: int) -> None:
    _given[:] = [(replica, requests, replicas)]


def _play_share(offset: int) -> tuple[Replayed, list[_Row], list[tuple[int, str]], list[int]]:
    replica, requests, replicas = _given[0]
    share = requests[offset::replicas]
    replayed, blocks = _play(replica, share)
    places = {id(request): place for place, request in enumerate(share)}
    rows = [
        (places[id(one.request)], one.first_token_s, one.finished_s, one.num_cached_tokens, one.num_preemptions)
        for one in replayed.outcomes
    ]
    refused = [(places[id(request)], why) for request, why in replayed.refused]
    replayed.outcomes, replayed.refused = [], []
    return replayed, rows, refused, blocks
