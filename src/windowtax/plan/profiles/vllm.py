"""vLLM, V0 and V1: its pool of equal blocks (vllm_pool.py) beside what a start-up log says of it."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import ClassVar

from windowtax.plan.logs.record import Printed, VllmLog, counted
from windowtax.plan.profiles.base import PROFILES, Allocation, Profile, Row, Rows, Subject, ceil_div, first
from windowtax.plan.profiles.vllm_pool import BATCHED_TOKENS, BLOCK_TOKENS, PADDING_LIMITS, VllmPool
from windowtax.spec.cache import CacheLayout

_NO_HYBRID = (
    "Every layer keeps all tokens here: vLLM's hybrid manager is off, as KV connectors force it, or not there yet."
)
_NO_MEMORY = "The log does not say how much memory the pool has, so only whole blocks are checked."
_SPARE_PAGE = "Each block has one page of the largest part too many, as before vLLM PR 48993."
_WORKER_SPREAD = Fraction(3, 100)
"""Ranks profile their own free memory and all take the fewest blocks; figures in the field differ by 1 to 3%."""


@PROFILES.register("vllm")
class VllmProfile(Profile[VllmLog]):
    """vLLM, V0 and V1."""

    name: ClassVar[str] = "vllm"
    title: ClassVar[str] = "vLLM"

    def sequence(self, subject: Subject, context_tokens: int) -> Allocation:
        pool = VllmPool(subject.rank)
        blocks = pool.blocks_of_request(context_tokens)
        logical = subject.rank.bytes_for(context_tokens)
        return Allocation(logical=logical, bytes=blocks * pool.block_bytes, why=tuple(pool.why(context_tokens)))

    def read(self, subject: Subject, log: VllmLog) -> Rows:
        return first(self._readings(subject, log))

    def _readings(self, subject: Subject, log: VllmLog) -> Iterator[Rows]:
        """One reading per way in which versions and unsaid settings differ; the first is today's defaults."""
        steps = (log.batched_tokens,) if log.batched_tokens else (BATCHED_TOKENS, 2048, 16_384)
        states = (1, 2, 3, 4) if subject.rank.state_bytes else (1,)
        block = log.block_tokens or BLOCK_TOKENS
        for limit, kept, batched in product(PADDING_LIMITS, states, steps):
            pool = VllmPool(subject.rank, block, batched, limit, kept)
            yield from (_rows(subject, pool, log, blocks) for blocks in _num_blocks(pool, log))
            if pool.compressed:
                pool = replace(pool, spare_pages=1)
                for rows in (_rows(subject, pool, log, blocks) for blocks in _num_blocks(pool, log)):
                    yield replace(rows, notes=(*rows.notes, _SPARE_PAGE))
            if pool.uniform:
                break
        if subject.rank.window_bytes and not subject.rank.state_bytes:
            pool = VllmPool(_without_windows(subject.rank), block)
            for rows in (_rows(subject, pool, log, blocks) for blocks in _num_blocks(pool, log)):
                yield replace(rows, notes=(*rows.notes, _NO_HYBRID))


def _without_windows(layout: CacheLayout) -> CacheLayout:
    """Every layer keeps all tokens: the hybrid manager switched off, or a version that had none."""
    groups = (replace(group, cache=replace(group.cache, window=None, chunk=None)) for group in layout.groups)
    return replace(layout, groups=tuple(groups))


def _num_blocks(pool: VllmPool, log: VllmLog) -> list[int]:
    """How many blocks the pool can have, given the tokens that were printed."""
    if log.blocks is not None:
        return [log.blocks]
    printed_tokens = log.tokens or 0
    found: list[int] = []
    if pool.uniform and printed_tokens % pool.table_tokens == 0:
        return [printed_tokens // pool.table_tokens]
    if log.concurrency is not None:
        per_request = pool.blocks_of_request(log.concurrency[0])
        found.append(ceil_div(printed_tokens * per_request, log.concurrency[0]))
    if pool.uniform:
        return found or [printed_tokens // pool.table_tokens]
    # Where blocks // groups * block size was printed, the rest of that division was not.
    groups = sum(pool.groups_of)
    fewest = printed_tokens // pool.table_tokens * groups
    return [*found, *range(fewest + groups - 1, fewest - 1, -1)]


def _rows(subject: Subject, pool: VllmPool, log: VllmLog, num_blocks: int) -> Rows:
    rows: list[Row] = []
    size = num_blocks * pool.block_bytes
    if log.available:
        rows.append(_pool_row(subject, pool, log, num_blocks, size))
    if log.tokens is not None:
        rows.append(_tokens_row(subject, pool, log, log.tokens, num_blocks))
    elif log.blocks is not None:
        rows.append(_blocks_row(pool, log, log.blocks))
    if log.concurrency is not None:
        length, times = log.concurrency
        times_here = pool.concurrency(num_blocks, length)
        held = subject.rank.bytes_for(length)
        rows.append(
            Row(
                quantity=f"requests of {length:,} tokens",
                unit="x",
                logical=Fraction(size, held) if held else None,
                profile=times_here,
                measured=times,
                agrees=times.shows(times_here),
                note=f"One takes {pool.blocks_of_request(length):,} blocks. " + " ".join(pool.why(length)),
            )
        )
    return Rows(rows=tuple(rows), notes=_notes(log))


def _blocks_row(pool: VllmPool, log: VllmLog, num_blocks: int) -> Row:
    tokens, here = pool.tokens_by_blocks(num_blocks), _from_memory(pool, log, num_blocks)
    return Row(
        quantity=f"blocks, {tokens:,} tokens",
        unit="blocks",
        logical=None,
        profile=here,
        measured=counted(num_blocks, "blocks"),
        agrees=here == num_blocks,
        note=" ".join(pool.why(tokens)) if log.available else _NO_MEMORY,
        explained=_left_over(pool, log, num_blocks),
    )


def _least(log: VllmLog) -> Printed:
    """The room of the worker with least memory, which decides for all."""
    return min(log.available, key=lambda figure: figure.value)


def _from_memory(pool: VllmPool, log: VllmLog, num_blocks: int) -> int:
    """How many blocks the printed memory holds; of the counts that its rounding allows, the nearest to num_blocks."""
    if not log.available:
        return num_blocks
    least = _least(log)
    fewest, most = ((least.value + sign * least.slack) // pool.block_bytes for sign in (-1, 1))
    return min(max(num_blocks, fewest), most)


def _left_over(pool: VllmPool, log: VllmLog, num_blocks: int) -> bool:
    """Whether a worker has a little more memory than its blocks take: another one had less, and decided."""
    if not log.available or _from_memory(pool, log, num_blocks) == num_blocks:
        return False
    least = _least(log).value
    return 0 < least - num_blocks * pool.block_bytes <= _WORKER_SPREAD * least


def _pool_row(subject: Subject, pool: VllmPool, log: VllmLog, num_blocks: int, size: int) -> Row:
    least, explained = _least(log), _left_over(pool, log, num_blocks)
    agrees = _from_memory(pool, log, num_blocks) == num_blocks
    note = f"Whole blocks of {pool.block_bytes:,} B; the rest of the memory is less than one block." if agrees else ""
    if explained:
        note = (
            f"{float(1 - size / least.value):.1%} of this worker's memory is left over: all ranks take as many blocks "
            "as the rank with least free memory, which printed another figure."
        )
    return Row(
        quantity=f"pool of one rank, {num_blocks:,} blocks",
        unit="B",
        logical=int(num_blocks * pool.table_tokens * subject.rank.growth) if pool.uniform else None,
        profile=size,
        measured=least,
        agrees=agrees,
        note=note,
        explained=explained,
    )


def _tokens_row(subject: Subject, pool: VllmPool, log: VllmLog, tokens: int, num_blocks: int) -> Row:
    here = _from_memory(pool, log, num_blocks)
    ways = [(pool.tokens_by_blocks(here), "blocks // groups * block size")]
    if log.concurrency is not None:
        length = log.concurrency[0]
        said = f"requests of {length:,} tokens that fit, times their length"
        ways.append((pool.tokens_by_requests(here, length), said))
    value, way = next((pair for pair in ways if pair[0] == tokens), ways[0] if pool.uniform else ways[-1])
    note = f"Printed as {way}." if log.available else _NO_MEMORY
    if not pool.uniform:
        note += " It is not the length of one sequence that fits, nor pool bytes over bytes per token."
    return Row(
        quantity="tokens that the pool holds",
        unit="tokens",
        logical=subject.rank.tokens_for(int(_least(log).value)) if log.available else None,
        profile=value,
        measured=counted(tokens, "tokens"),
        agrees=value == tokens,
        note=note,
        explained=_left_over(pool, log, num_blocks),
    )


def _notes(log: VllmLog) -> tuple[str, ...]:
    figures = {figure.text for figure in log.available}
    if len(figures) > 1:
        return (f"Workers had room for {', '.join(sorted(figures))}; all take as many blocks as the least of them.",)
    return ()
