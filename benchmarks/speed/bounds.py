"""Floor and prediction of a job of ours on this machine, by the planner's own formulas."""

from functools import cache

from cells import Job

from windowtax.catalog.machine import load_record
from windowtax.engine.gauge import this_machine
from windowtax.engine.load import ModelFiles, open_files
from windowtax.engine.predict import predict
from windowtax.hub import fetch


class Bounds:
    """machine: as `windowtax bench floor` measured it."""

    def __init__(self) -> None:
        self.machine = this_machine()
        record = load_record()
        self.gauge = {} if record is None else record.gauge

    def of(self, metric: str, job: Job) -> tuple[float, float]:
        """Seconds of the whole batch's prefill, or of one decode step: at least, and as predicted."""
        files = _files(job.model.name, job.rope_factor, job.attention)
        backend = files.backend(job.cache_dtype, job.weights)
        found = predict(files, backend, self.machine, job.cache_dtype, job.context, job.batch)
        if metric == "prefill":
            return found.prefill_floor.seconds * job.batch, found.ttft_s * job.batch
        return found.decode_floor.seconds, found.tpot_s


@cache
def _files(name: str, rope_factor: int, attention: str | None) -> ModelFiles:
    rope = f"linear:{rope_factor}" if rope_factor > 1 else None
    return open_files(fetch.pull(name), rope=rope, attention=attention)
