"""llama.cpp: cells for the whole context, allocated at start.

src/llama-kv-cache.cpp, -iswa.cpp, llama-memory-recurrent.cpp. A cache has n_ctx cells, padded, in each of its streams;
windowed layers have a second one of pad(min(n_ctx, W * sequences + n_ubatch), 256) cells, or n_ctx under --swa-full.
Recurrent states, the convolution's too, are kept in F32, one cell per sequence, and further ones to roll back to. It
prints MiB. By default heads are not split over GPUs: layers are dealt out, and the lines are sums.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from windowtax.plan.logs.patterns import dtype_name
from windowtax.plan.logs.record import LlamaCppCache, LlamaCppLog, Printed, counted
from windowtax.plan.profiles.base import (
    PROFILES,
    Allocation,
    Profile,
    Row,
    Rows,
    Subject,
    first,
    padded,
    part_bytes,
    refuse_strides,
    rows_of,
    states_of,
)
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import FP32, CacheDtype, cache_dtype
from windowtax.spec.model import ModelSpec

UBATCH_TOKENS = 512
PADDING = 256
_UBATCHES = (UBATCH_TOKENS, 2048, 1024, 256, 128)
"""Tried where the log does not say; 512 is the default."""
_OLD_PADDINGS = (32, 1)
"""Cells of a cache were padded to 32 until late 2025 (llama.cpp PR 16812 and issue 17037 changed it)."""

_EXPANDED = "Keys and values of every head, expanded from the latent rows: llama.cpp before it knew MLA (spring 2025)."


@PROFILES.register("llamacpp")
class LlamaCppProfile(Profile[LlamaCppLog]):
    """llama.cpp and what is built on it."""

    name: ClassVar[str] = "llamacpp"
    title: ClassVar[str] = "llama.cpp"

    def sequence(self, subject: Subject, context_tokens: int) -> Allocation:
        layout, cells = _with_f32_states(subject.spec, subject.dtype), padded(context_tokens, PADDING)
        refuse_strides(layout, self.title)
        total, said = layout.state_bytes, [f"{cells:,} cells, a multiple of {PADDING}."]
        for group in rows_of(layout):
            cap = group.cache.cap
            kept = cells if cap is None else window_cells(cap, cells, 1, UBATCH_TOKENS, PADDING)
            total += kept * group.token_bytes
            if cap is not None:
                said.append(f"Windowed layers: {kept:,} cells for a window of {cap:,} and a ubatch of {UBATCH_TOKENS}.")
        if layout.state_bytes:
            said.append("States in F32, the convolution's too.")
        if subject.tensor_parallel > 1:
            said.append("On all devices together: layers are dealt out, heads are not split.")
        return Allocation(logical=subject.whole.bytes_for(context_tokens), bytes=total, why=tuple(said))

    def read(self, subject: Subject, log: LlamaCppLog) -> Rows:
        refuse_strides(subject.whole, self.title)
        rows: list[Row] = []
        for cache in log.caches:
            found = _state_rows(subject, cache) if cache.kind == "state" else _kv_rows(subject, log, cache)
            rows += first(found).rows
        return Rows(rows=tuple(rows))


def window_cells(window: int, cells: int, sequences: int, ubatch: int, padding: int) -> int:
    """Cells of the windowed layers' cache (llama-kv-cache-iswa.cpp). sequences: that share one stream."""
    return padded(min(cells, window * sequences + ubatch), padding)


def _with_f32_states(spec: ModelSpec, dtype: CacheDtype) -> CacheLayout:
    """The cache with both kinds of states in F32, whatever the model asks for."""
    return spec.layout(replace(dtype, state=FP32, conv=FP32))


def _expanded(spec: ModelSpec) -> ModelSpec | None:
    """The model with its latent rows expanded to keys and values of every head, as before llama.cpp knew MLA (b5000).

    None where it has no latent rows.
    """
    if not any(isinstance(layer.attention, LatentAttention) for layer in spec.layers):
        return None
    layers = (
        replace(layer, attention=_heads(layer.attention)) if isinstance(layer.attention, LatentAttention) else layer
        for layer in spec.layers
    )
    return replace(spec, layers=tuple(layers))


def _heads(latent: LatentAttention) -> FullAttention:
    return FullAttention(
        num_query_heads=latent.num_query_heads,
        num_kv_heads=latent.num_query_heads,
        head_dim=latent.qk_nope_head_dim + latent.qk_rope_head_dim,
        v_head_dim=latent.v_head_dim,
        rope=latent.rope,
    )


def _kv_rows(subject: Subject, log: LlamaCppLog, cache: LlamaCppCache) -> Iterator[Rows]:
    """Readings of one line: about all layers, or about those with or without a window, as many as it says."""
    layout = subject.whole
    for window in (None, False, True) if cache.windowed is None else (cache.windowed,):
        layers = len({index for group in rows_of(layout, window) for index in group.layers})
        if layers and cache.layers in (None, layers):
            yield Rows(rows=(*_cells_row(layout, log, cache, window), *_part_rows(subject, cache, window)))
    yield Rows(rows=tuple(_part_rows(subject, cache, None)))
    expanded = _expanded(subject.spec)
    if expanded is not None:
        heads = _part_rows(replace(subject, spec=expanded), cache, None)
        logical = [row.logical for row in _part_rows(subject, cache, None)]
        yield Rows(
            rows=tuple(replace(row, logical=rows, note=_EXPANDED) for row, rows in zip(heads, logical, strict=True))
        )


def _cells_row(layout: CacheLayout, log: LlamaCppLog, cache: LlamaCppCache, window: bool | None) -> list[Row]:
    """How many cells there are, of the windowed layers or, where the log says n_ctx, of the others."""
    measured = counted(cache.cells, "cells")
    if window is not True:
        if log.context_tokens is None:
            return []
        asked = log.context_tokens // cache.copies
        paddings = [to for to in (1, PADDING, 32) if padded(asked, to) == cache.cells]
        value = cache.cells if paddings else padded(asked, PADDING)
        return [_cells("cells", asked, value, measured, "n_ctx, padded." if value != asked else "")]
    cap = max(group.cache.cap or 0 for group in rows_of(layout, True))
    whole = log.context_tokens or max(other.cells for other in log.caches)
    sequences = cache.sequences if cache.copies == 1 and log.unified is not False else 1
    steps = (log.ubatch_tokens,) if log.ubatch_tokens else _UBATCHES
    tried = [
        (window_cells(cap, whole, sequences, ubatch, padding), ubatch, padding)
        for padding in (PADDING, *_OLD_PADDINGS)
        for ubatch in steps
    ]
    value, ubatch, padding = next((found for found in tried if found[0] == cache.cells), tried[0])
    note = (
        f"A window of {cap:,} for {sequences} sequence{'s' if sequences > 1 else ''}, {ubatch:,} tokens of a ubatch, "
    )
    note += f"padded to {padding}" + (f", as until late 2025 (today: {tried[0][0]:,})." if padding != PADDING else ".")
    if log.full_windows:
        value, note = whole, "n_ctx in full (--swa-full)."
    return [_cells("cells of windowed layers", min(cap, whole), value, measured, note)]


def _cells(quantity: str, logical: int, profile: int, measured: Printed, note: str) -> Row:
    return Row(
        quantity=quantity,
        unit="cells",
        logical=logical,
        profile=profile,
        measured=measured,
        agrees=measured.value == profile,
        note=note,
    )


def _part_rows(subject: Subject, cache: LlamaCppCache, window: bool | None) -> Iterator[Row]:
    for name, (word, figure) in (cache.parts or {"KV": ("auto", cache.total)}).items():
        dtype = dtype_name(word)
        layout = subject.spec.layout(subject.dtype if dtype is None else cache_dtype(dtype))
        held, logical = 0, 0
        for group in rows_of(layout, window):
            cell = part_bytes((group,), name) * cache.copies
            held += cell * cache.cells
            logical += cell * group.cache.peak_tokens(cache.cells)
        streams = f" in {cache.copies} streams" if cache.copies > 1 else ""
        which = {None: "", False: ", layers without a window", True: ", windowed layers"}[window]
        yield Row(
            quantity=f"{name} of {cache.cells:,} cells{streams}{which}",
            unit="B",
            logical=logical,
            profile=held,
            measured=figure,
            agrees=figure.shows(held),
            note="Cells beyond the window hold a ubatch and padding." if held != logical else "",
        )


def _state_rows(subject: Subject, cache: LlamaCppCache) -> Iterator[Rows]:
    layout = _with_f32_states(subject.spec, subject.dtype)
    rows: list[Row] = []
    for name, (_, figure) in (cache.parts or {"RS": ("f32", cache.total)}).items():
        logical = part_bytes(states_of(subject.whole), name) * cache.cells
        value = part_bytes(states_of(layout), name) * cache.cells * cache.copies
        said = ["F32 whatever the model is in."] if value != logical * cache.copies else []
        if cache.copies > 1:
            said.append(f"{cache.copies} states per sequence: one, and {cache.copies - 1} to roll back to.")
        rows.append(
            Row(
                quantity=f"{name} states of {cache.cells:,} sequence{'s' if cache.cells > 1 else ''}",
                unit="B",
                logical=logical,
                profile=value,
                measured=figure,
                agrees=figure.shows(value),
                note=" ".join(said),
            )
        )
    yield Rows(rows=tuple(rows))
