"""How prompts share a step: half of it to the oldest, the rest to those with the least left to read.

The oldest half is what keeps a long prompt from waiting for ever; the other half is shortest remaining work first,
which has the least mean waiting of all orders (Schrage 1968, "A proof of the optimality of the shortest remaining
processing time discipline"). So a short prompt behind long ones has its first token within a few steps, and of equal
long ones each pair finishes before the next goes far, where equal parts would make all of them wait for the last.
"""

from collections.abc import Iterable, Mapping
from itertools import islice

from windowtax.schedule.sequence import Sequence


def shares(
    running: Iterable[Sequence], waiting: Iterable[Sequence], *, budget: int, room: int, block_size: int
) -> Mapping[str, int] | None:
    """How many tokens of the next step each prompt may take, by sequence id; who is not named waits.

    budget: tokens of the step; those of running sequences that decode come off first. room: how many of the waiting
    may be admitted, in their order. None where fewer than two prompts want a part. Parts are whole blocks where they do
    not end a prompt, so that what is computed together can be kept together.
    """
    reading = [sequence for sequence in running if sequence.num_uncomputed_tokens > 1]
    decoding = sum(1 + len(sequence.draft_ids) for sequence in running if sequence.num_uncomputed_tokens <= 1)
    prompts = [*reading, *islice(waiting, room)]
    if len(prompts) < 2:
        return None
    left = max(0, budget - decoding)
    oldest = min(prompts, key=lambda one: one.priority)  # of equal ones the first: min keeps their order
    parts = {oldest.sequence_id: _part(oldest, max(1, left // 2), block_size)}
    left -= parts[oldest.sequence_id]
    for sequence in sorted(prompts, key=lambda one: (one.priority, one.num_uncomputed_tokens)):
        if left <= 0:
            break
        if sequence is not oldest:
            parts[sequence.sequence_id] = part = _part(sequence, left, block_size)
            left -= part
    return parts


def _part(sequence: Sequence, most: int, block_size: int) -> int:
    """At most so many of a prompt's tokens: all that are left, or whole blocks where there is one."""
    if sequence.num_uncomputed_tokens <= most:
        return sequence.num_uncomputed_tokens
    return most // block_size * block_size or most
