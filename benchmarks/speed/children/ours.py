"""A job in windowtax: the engine as `windowtax ask` runs it, scheduler, block tables, sampler and meters included."""

import time
from pathlib import Path

import common
import psutil

from windowtax.cache.manager import CacheManager
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, open_files
from windowtax.engine.request import Request
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, layout_of, open_engine
from windowtax.schedule.scheduler import SchedulerConfig

SPARE = 2
PIECE_BLOCKS = 8
"""Of copies: fewer than the window of a layer holds."""


def main() -> None:
    """Prefill, where the job says so copies of its blocks, decode."""
    task = common.job()
    ids, batch, decode = common.tokens(task), task["batch"], task["decode"]
    before = psutil.Process().memory_info().rss
    rope = f"linear:{task['rope_factor']}" if task["rope_factor"] > 1 else None
    files = open_files(Path(task["model"]), rope=rope, attention=task["attention"])
    model = files.load(files.backend(task["cache_dtype"], task["weights"]))
    loaded = time.time()
    options = EngineOptions(cache_dtype=task["cache_dtype"], weights=task["weights"])
    # One engine for all repetitions, as the peers have one context or engine: memory is touched first in the first one.
    engine = open_for_batch(model, task, options)
    prefill_s: list[float] = []
    requests: list[Request] = []
    for _ in range(task["repeats"]):
        for request in requests:
            engine.cancel(request.request_id)
        requests = [add(engine, ids[: task["fill"]], task) for _ in range(batch)]
        seconds, _ = common.timed(lambda r=requests: prefill(engine, r))
        prefill_s.append(seconds)
    first_token = time.time()
    if task["fill"] < task["context"]:
        for request in requests:
            stretch(engine, request, ids, task["fill"])
    had = [len(request.output_ids) for request in requests]
    decode_s = [common.timed(engine.step)[0] for _ in range(decode)]
    assert all(len(r.output_ids) - n == decode for r, n in zip(requests, had, strict=True)), "not one token each a step"
    common.tell(
        computed_by=model.backend.name,
        prefill_s=prefill_s,
        decode_s=decode_s,
        loaded=loaded,
        first_token=first_token,
        ids=requests[0].output_ids[:8],
        weight_bytes=model.weight_bytes,
        cache_bytes=engine.runner.store.nbytes,
        planned_bytes=before + model.weight_bytes + engine.runner.store.nbytes,
    )


def open_for_batch(model: LoadedModel, task: dict[str, int], options: EngineOptions) -> Engine:
    """An engine with room for all sequences of the batch: one window as long as all of them would not do, since layers
    that see a window only hold no more of a longer sequence."""
    context, batch = task["context"] + task["decode"] + spare(task), task["batch"]
    if batch == 1:
        return open_engine(model, context, options)
    layout = layout_of(model.spec, model.backend, options)
    blocks = layout.peak_blocks(context, options.step_tokens)
    manager = CacheManager(layout, tuple(batch * one for one in blocks))
    return Engine(model, manager, SchedulerConfig(max_step_tokens=options.step_tokens), context)


def add(engine: Engine, ids: list[int], task: dict[str, int]) -> Request:
    """A request that goes on for longer than it is measured."""
    more = task["context"] - len(ids) + task["decode"] + spare(task)
    return engine.add(ids, SamplingParams(max_tokens=more, ignore_eos=True))


def spare(task: dict[str, int]) -> int:
    """Tokens beyond those timed: the first of a batch decode while the last are still read, some steps for each."""
    return SPARE + 2 * (task["batch"] - 1)


def prefill(engine: Engine, requests: list[Request]) -> None:
    """Until each has its first token."""
    while any(not request.output_ids for request in requests):
        engine.step()


def stretch(engine: Engine, request: Request, ids: list[int], filled: int) -> None:
    """Makes the sequence `ids` long: its further blocks are copies of those that the prefill left.

    In pieces, as prefill comes in chunks: a layer's window has no room for all of them.
    """
    sequence, cache, store = request.sequence, engine.cache, engine.runner.store
    sequence.token_ids[:] = ids
    size = cache.layout.block_size
    piece, have = PIECE_BLOCKS * size, filled // size
    for start in range(filled, len(ids), piece):
        assert cache.reserve(sequence.sequence_id, start, piece)
        for group, table in enumerate(cache.tables(sequence.sequence_id)):
            for index in range(start // size, table.end):
                source = index % have if table.first == 0 else index - PIECE_BLOCKS
                for plane in store.planes[group].values():
                    plane[:, table.blocks[index - table.first]] = plane[:, table.blocks[source - table.first]]
        cache.trim(sequence.sequence_id, start + piece)
    sequence.num_computed_tokens = len(ids) - 1


main()
