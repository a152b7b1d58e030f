"""A job in windowtax: the engine as `windowtax ask` runs it, scheduler, block tables, sampler and meters included."""

import time
from pathlib import Path

import common
import psutil

from windowtax.engine.engine import Engine
from windowtax.engine.load import open_files
from windowtax.engine.request import Request
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, open_engine

SPARE = 2


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
    window = (task["context"] + decode + spare(task)) * batch
    # One engine for all repetitions, as the peers have one context or engine: memory is touched first in the first one.
    engine = open_engine(model, window, options)
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
    decode_s = [common.timed(engine.step)[0] for _ in range(decode)]
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
    """Makes the sequence `ids` long: its further blocks are copies of those that the prefill left."""
    sequence, cache, store = request.sequence, engine.cache, engine.runner.store
    sequence.token_ids[:] = ids
    assert cache.reserve(sequence.sequence_id, filled, len(ids) - filled)
    have = filled // cache.layout.block_size
    for group, table in enumerate(cache.tables(sequence.sequence_id)):
        if table.first == 0 and len(table.blocks) > have:
            for index, block in enumerate(table.blocks[have:]):
                for plane in store.planes[group].values():
                    plane[:, block] = plane[:, table.blocks[index % have]]
    sequence.num_computed_tokens = len(ids) - 1


main()
