"""`windowtax replay`: a trace of real traffic, to hit rates, waiting times, machines and dollars."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_bytes, parse_tokens
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.catalog.read import read_model
from windowtax.cli import replay_text
from windowtax.cli.console import console
from windowtax.cli.plan_words import AsJson, CacheDtypeName, HardwareName, Price, Weights
from windowtax.plan.replay.contract import report_json
from windowtax.plan.replay.deployment import DEFAULT_MAX_SEQUENCES, ReplayOptions
from windowtax.plan.replay.objective import parse_slo
from windowtax.plan.replay.read import AUTO, FORMATS, read_trace
from windowtax.plan.replay.report import ReplayPlan
from windowtax.plan.replay.report import replay as replay_trace
from windowtax.plan.replay.tiers import DISK_BYTES_PER_S, HOST_BYTES_PER_S
from windowtax.plan.schemes import CHECKPOINT
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS

TracePath = Annotated[Path, typer.Argument(metavar="TRACE.jsonl", help="A Mooncake trace, or a log of OpenAI calls.")]
Model = Annotated[str, typer.Option(help="A catalog name, a config.json, its folder, or a .gguf file.")]
Format = Annotated[str, typer.Option("--format", help=f"{AUTO}, {' or '.join(FORMATS)}.")]
Replicas = Annotated[int | None, typer.Option(help="Exactly so many. Default: the fewest that meet the objective.")]
Ranks = Annotated[int | None, typer.Option(help="Accelerators of one replica. Default: the cheapest size found.")]
Sizes = Annotated[str | None, typer.Option(help="Cache sizes for the hit rates, such as 16GiB,64GiB,1TiB.")]


def replay(
    trace: TracePath,
    model: Model = "llama-3.1-8b",
    hardware: HardwareName = "h100-sxm",
    slo_ttft: Annotated[
        str, typer.Option(help="Objective: time to the first token, such as 5s, or percentiles: p50:1s,p99:5s.")
    ] = "5s",
    slo_tpot: Annotated[
        str,
        typer.Option(help="Objective: a request's mean time per further token, such as 100ms, or p50:40ms,p99:80ms."),
    ] = "100ms",
    slo_percent: Annotated[
        float, typer.Option(help="Share of requests, in percent, that must keep both times that have no percentile.")
    ] = 90.0,
    replicas: Replicas = None,
    tensor_parallel: Ranks = None,
    hits_only: Annotated[bool, typer.Option("--hits-only", help="Only hit rates by cache size; no clock.")] = False,
    cache_sizes: Sizes = None,
    host_cache: Annotated[
        str, typer.Option(help="Host memory of a replica for prefixes and preempted requests, such as 512GiB.")
    ] = "0",
    disk_cache: Annotated[str, typer.Option(help="Disk of a replica that keeps prefixes, such as 4TiB.")] = "0",
    host_bandwidth: Annotated[
        float, typer.Option(help="GB/s from host memory to each accelerator.")
    ] = HOST_BYTES_PER_S.value / 1e9,
    disk_bandwidth: Annotated[float, typer.Option(help="GB/s from a replica's disks.")] = DISK_BYTES_PER_S.value / 1e9,
    prefix_cache: Annotated[bool, typer.Option(help="Whether earlier prompts are found again.")] = True,
    eviction: Annotated[str, typer.Option(help="Which kept blocks go first: lru, lfu or fifo.")] = "lru",
    step_tokens: Annotated[str, typer.Option(help="Most tokens that one step computes.")] = str(DEFAULT_STEP_TOKENS),
    max_sequences: Annotated[int, typer.Option(help="Most sequences that run at once.")] = DEFAULT_MAX_SEQUENCES,
    cache_dtype: CacheDtypeName = CHECKPOINT,
    weights: Weights = CHECKPOINT,
    usd_per_hour: Price = None,
    format_name: Format = AUTO,
    block_tokens: Annotated[
        int | None, typer.Option(help="Tokens per block of the trace. Default: 512; logs 32.")
    ] = None,
    search_requests: Annotated[int, typer.Option(help="The busiest so many requests decide how many replicas.")] = 3000,
    as_json: AsJson = False,
) -> None:
    """Replays a trace: hit rate by cache size, TTFT and TPOT, preemptions, GPUs and dollars a month."""
    if replicas is not None and replicas < 1:
        raise BadInput(f"{replicas} replicas: at least one must be there.")
    options = ReplayOptions(
        cache_dtype=cache_dtype,
        weights=weights,
        tensor_parallel=tensor_parallel,
        step_tokens=parse_tokens(step_tokens),
        max_sequences=max_sequences,
        prefix_cache=prefix_cache,
        policy=eviction,
        host_bytes=_bytes(host_cache),
        disk_bytes=_bytes(disk_cache),
        host_bytes_per_s=host_bandwidth * 1e9,
        disk_bytes_per_s=disk_bandwidth * 1e9,
    )
    asked = ReplayPlan(
        slo=parse_slo(slo_ttft, slo_tpot, slo_percent),
        replicas=replicas,
        search_requests=max(1, search_requests),
        hits_only=hits_only,
        sizes_bytes=tuple(parse_bytes(part) for part in cache_sizes.split(",")) if cache_sizes else (),
    )
    device = find_hardware(hardware)
    if usd_per_hour is not None:
        device = device.priced(usd_per_hour, datetime.now(tz=UTC).date().isoformat())
    report = replay_trace(read_trace(trace, format_name, block_tokens), read_model(model), device, options, asked)
    if as_json:
        typer.echo(json.dumps(report_json(report), indent=2))
    else:
        replay_text.print_report(console(), report)


def _bytes(text: str) -> int:
    return 0 if text.strip() == "0" else parse_bytes(text)
