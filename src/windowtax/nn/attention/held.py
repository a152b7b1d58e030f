"""What a sequence holds of one layer's keys or values, by position, as its queries see them.

Where keys are kept by spans of tokens (int4_channel), a query sees its own span as it was projected, in bf16, and every
earlier span as it is kept. That depends on positions alone: not on chunks, on drafts, or on what was preempted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from windowtax.nn.inputs import SequenceRows, StepInputs
from windowtax.store.kv import Part

Stretch = tuple[int, Tensor]
"""The position of the first of some vectors, and the vectors [n, heads, dim]."""


@dataclass(frozen=True, slots=True)
class Held:
    """kept: stretches of what the cache keeps, oldest first. exact: of the newest tokens, where these are kept by spans
    of `span` tokens."""

    kept: tuple[Stretch, ...]
    exact: Stretch | None = None
    span: int = 1

    def between(self, begin: int, end: int, query: int) -> Tensor:
        """The vectors at positions begin ... end - 1, as a query at that position sees them, [end - begin, ...]."""
        own = end if self.exact is None else query - query % self.span
        found: list[Tensor] = []
        at = begin
        for first, vectors in self.kept:
            stop = min(end, own, first + vectors.shape[0])
            if first <= at < stop:
                found.append(vectors[at - first : stop - first])
                at = stop
        if self.exact is not None and at < end:
            found.append(self.exact[1][at - self.exact[0] : end - self.exact[0]])
        return found[0] if len(found) == 1 else torch.cat(found)

    def cuts(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The runs of queries that see the same: all of them, or those of one span."""
        while start < end:
            stop = end if self.exact is None else min(end, start - start % self.span + self.span)
            yield start, stop
            start = stop


def keep(layer: int, name: str, values: Tensor, inputs: StepInputs) -> Iterator[Held]:
    """Writes the step's vectors [T, heads, dim] into the store, then gives what each sequence holds, in turn."""
    parts = inputs.store.parts(layer, name)
    if parts[0].vectors[name].codec.span > 1:
        return iter([_keep_spans(layer, name, values[rows.rows], rows, inputs) for rows in inputs.sequences])
    for part in parts:
        kept = inputs.kept[part.group]
        part.vectors[name].write(inputs.slots[part.group], values if kept is None else values[kept])
    return (Held(tuple(_stretches(parts, name, rows, values.dtype))) for rows in inputs.sequences)


def _stretches(
    parts: tuple[Part, ...], name: str, rows: SequenceRows, dtype: torch.dtype, end: int | None = None
) -> Iterator[Stretch]:
    for part in parts:
        extent = rows.extents[part.group]
        if end is not None:
            extent = extent.part(extent.first, max(extent.first, min(end, extent.end)))
        if extent.num_rows:
            yield extent.first, part.vectors[name].read(extent).to(dtype)


def _keep_spans(layer: int, name: str, values: Tensor, rows: SequenceRows, inputs: StepInputs) -> Held:
    """Tokens wait in the tail until their span is full; the tail holds the newest span, also when that is full."""
    parts = inputs.store.parts(layer, name)
    span = parts[0].vectors[name].codec.span
    (tail_part,) = inputs.store.parts(layer, f"{name}_tail")
    tail, place = tail_part.vectors[f"{name}_tail"], rows.extents[tail_part.group]
    begun = rows.start % span
    first = rows.start - begun
    waiting = tail.read(place)[0]
    exact = torch.cat([waiting[:begun], values.to(waiting.dtype)])
    for part in parts:
        extent = rows.extents[part.group]
        begin, end = max(first, extent.first), extent.end - extent.end % span
        if begin < end:
            part.vectors[name].write(extent.slots(begin, end), exact[begin - first : end - first])
    newest = (exact.shape[0] - 1) // span * span
    waiting = torch.zeros_like(waiting)
    waiting[: exact.shape[0] - newest] = exact[newest:]
    tail.write(place.slots(0, 1), waiting[None])
    kept = tuple(_stretches(parts, name, rows, values.dtype, end=rows.end - rows.end % span))
    return Held(kept, (first, exact.to(values.dtype)), span)
