"""SGLang: one row per token in each layer, a page of spare rows in front, recurrent states in slots of their own.

mem_cache/memory_pool.py: MHATokenToKVPool and MLATokenToKVPool allocate size + page_size rows (row 0 takes the writes
of padded batch entries); MambaPool allocates size + 1 slots. Sliding-window models have a second, shorter pool for the
windowed layers (SWAKVPool). Every rank prints its own bytes, K and V apart, in "GB" that are 2^30.
"""

from fractions import Fraction
from typing import ClassVar

from windowtax.plan.logs.record import Printed, SglangLog, SglangPool
from windowtax.plan.profiles.base import (
    PROFILES,
    Allocation,
    Profile,
    Row,
    Rows,
    Subject,
    first,
    part_bytes,
    refuse_strides,
    rows_of,
    states_of,
)
from windowtax.spec.cache import CacheLayout

_GB_NOTE = "SGLang divides by 2^30 and prints GB."
_SPARE_SLOTS = 1
_INDEXED_PAGE_TOKENS = 64
"""Models with a sparse index (DeepSeek-V3.2, GLM-5) get pages of 64 on CUDA (server_args.py says so in its log)."""


@PROFILES.register("sglang")
class SglangProfile(Profile[SglangLog]):
    """SGLang."""

    name: ClassVar[str] = "sglang"
    title: ClassVar[str] = "SGLang"

    def sequence(self, subject: Subject, context_tokens: int) -> Allocation:
        layout = subject.rank
        refuse_strides(layout, self.title)
        rows = sum(group.token_bytes for group in layout.groups) * context_tokens
        said = ["One row per token."]
        if layout.window_bytes:
            said.append("An upper bound: rows that left a window are given back only while the sequence goes on.")
        if layout.state_bytes:
            said.append("The state has a slot of its own.")
        return Allocation(logical=layout.bytes_for(context_tokens), bytes=rows + layout.state_bytes, why=tuple(said))

    def read(self, subject: Subject, log: SglangLog) -> Rows:
        refuse_strides(subject.rank, self.title)
        rows: list[Row] = []
        seen: set[tuple[str, int, tuple[str, ...]]] = set()
        for pool in log.pools:
            key = (pool.kind, pool.rows, tuple(part.text for part in pool.parts.values()))
            if key in seen:
                continue  # Another rank that printed the same.
            seen.add(key)
            rows += self._state(subject, pool) if pool.kind == "state" else _kv(subject, log, pool)
        return Rows(rows=tuple(rows))

    def _state(self, subject: Subject, pool: SglangPool) -> list[Row]:
        rows: list[Row] = []
        for name, figure in pool.parts.items():
            one = part_bytes(states_of(subject.rank), name)
            slots = pool.rows + _SPARE_SLOTS
            rows.append(
                Row(
                    quantity=f"{_label(pool)}{name} state of {pool.rows:,} slots",
                    unit="B",
                    logical=one * pool.rows,
                    profile=one * slots,
                    measured=figure,
                    agrees=figure.shows(one * slots),
                    note=f"{slots:,} slots: one more than it says, for padded batch entries. {_GB_NOTE}",
                )
            )
        return rows


def _kv(subject: Subject, log: SglangLog, pool: SglangPool) -> tuple[Row, ...]:
    """One row per part. Of a model with windows the line may be about either pool: the one that fits better."""
    layout = subject.rank
    windows = (None, False, True) if layout.window_bytes and pool.window_rows is None else (None,)
    indexed = any(plane.name.startswith("index") for group in rows_of(layout) for plane in group.cache.planes)
    page = log.page_tokens or (_INDEXED_PAGE_TOKENS if indexed else 1)
    return first(_kv_rows(layout, pool, page, window) for window in windows).rows


def _kv_rows(layout: CacheLayout, pool: SglangPool, page: int, window: bool | None) -> Rows:
    rows: list[Row] = []
    for name, figure in pool.parts.items():
        if pool.window_rows is None:
            counts = ((pool.rows, part_bytes(rows_of(layout, window), name)),)
        else:
            counts = ((pool.rows, part_bytes(rows_of(layout, False), name)),)
            counts += ((pool.window_rows, part_bytes(rows_of(layout, True), name)),)
        said = sum(count * token for count, token in counts)
        value = sum((count + page) * token for count, token in counts)
        kept = Fraction(figure.value, pool.rows) if pool.rows else Fraction(0)
        both = "" if pool.window_rows is None else f", {pool.window_rows:,} of windowed layers"
        which = {None: both, False: ", layers without a window", True: ", windowed layers"}[window]
        rows.append(
            Row(
                quantity=f"{_label(pool)}{name} of {pool.rows:,} tokens{which}",
                unit="B",
                logical=said,
                profile=value,
                measured=figure,
                agrees=figure.shows(value) or figure.shows(said),
                note=f"{page} spare row{'s' if page > 1 else ''} in front; {_per_token(kept, figure)}. {_GB_NOTE}",
            )
        )
    return Rows(rows=tuple(rows))


def _per_token(kept: Fraction, figure: Printed) -> str:
    slack = figure.slack / figure.value * kept if figure.value else Fraction(0)
    return f"measured {float(kept):,.0f} B per token (±{float(slack):,.0f})"


def _label(pool: SglangPool) -> str:
    return f"{pool.label}: " if pool.label else ""
