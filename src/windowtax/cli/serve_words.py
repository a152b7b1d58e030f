"""The options of `windowtax serve`, written down once, and what they mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from windowtax.base.errors import BadInput
from windowtax.cli.ask import CACHE_DTYPE_HELP, AttentionOption, DtypeOption, RopeOption, WeightsOption
from windowtax.cli.config_file import ConfigFile
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS

_UTILISATION_HINT = (
    "A share of the memory cannot say which window fits. Give the cache bytes, --kv-cache-memory-bytes 8GiB, or leave "
    "it out: then the cache gets half of what is free after the weights."
)


def _refuse_utilisation(value: float | None) -> None:
    if value is not None:
        raise BadInput("--gpu-memory-utilization is not read here.", _UTILISATION_HINT)


def _refuse_cold(value: bool) -> None:
    if not value:
        hint = "Send another cache_salt with each request: then it finds nothing of the others."
        raise BadInput("Prefixes are always kept here.", hint)


def _refuse_ranks(value: int) -> None:
    if value != 1:
        raise BadInput(f"--tensor-parallel-size {value}: one process serves a model here.", "Leave it out.")


@dataclass(frozen=True, kw_only=True)
class ServeWords:
    """What is served, where and to whom, as typed: each field is an option."""

    same_model: Annotated[str | None, typer.Option("--model", "-m", help="The same as MODEL.")] = None
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8000
    max_model_len: Annotated[
        str, typer.Option("--max-model-len", "--ctx-size", "-c", help="The window: 8192, 32K, or auto.")
    ] = "auto"
    max_num_seqs: Annotated[
        int, typer.Option("--max-num-seqs", "--parallel", "-np", min=1, help="The most requests that run at once.")
    ] = 64
    max_num_batched_tokens: Annotated[
        int, typer.Option("--max-num-batched-tokens", "--batch-size", min=1, help="The most tokens of one step.")
    ] = DEFAULT_STEP_TOKENS
    kv_cache_memory_bytes: Annotated[
        str | None,
        typer.Option(
            "--kv-cache-memory-bytes", "--cache-bytes", help="The KV pool, such as 8GiB. Default: half of free."
        ),
    ] = None
    gpu_memory_utilization: Annotated[
        float | None, typer.Option(hidden=True, callback=_refuse_utilisation, help="Refused: give bytes.")
    ] = None
    enable_prefix_caching: Annotated[
        bool,
        typer.Option(
            "--enable-prefix-caching/--no-enable-prefix-caching", hidden=True, callback=_refuse_cold, help="Always so."
        ),
    ] = True
    tensor_parallel_size: Annotated[
        int, typer.Option("--tensor-parallel-size", "-tp", hidden=True, callback=_refuse_ranks, help="1.")
    ] = 1
    cache_dtype: Annotated[str, typer.Option("--cache-dtype", "--kv-cache-dtype", help=CACHE_DTYPE_HELP)] = "bf16"
    weights: WeightsOption = "stored"
    attention: AttentionOption = None
    rope: RopeOption = None
    dtype: DtypeOption = "bf16"
    speculate: Annotated[str, typer.Option(help="Guess ahead what the text says: none, or ngram (greedy only).")] = (
        "none"
    )
    cache_ram: Annotated[
        str | None, typer.Option(help="Main memory for kept prefixes below the pool, such as 8GiB. Default: none.")
    ] = None
    cache_ssd: Annotated[
        str | None,
        typer.Option(metavar="PATH[:BYTES]", help="A folder for kept prefixes that outlive the server."),
    ] = None
    eviction: Annotated[str, typer.Option(help="Which kept blocks go first when room is needed.")] = "lru"
    chat_template: Annotated[Path | None, typer.Option(help="A Jinja file instead of the model's own.")] = None
    normalize: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=WAY]",
            help="Take what changes out of cached prefixes: billing, date, time, ids, all, /REGEX/=last. Default: off.",
        ),
    ] = None
    reasoning_parser: Annotated[
        str, typer.Option(help="How thoughts before answers are marked: auto (by the template), none, or vLLM's names.")
    ] = "auto"
    tool_call_parser: Annotated[
        str, typer.Option(help="How calls of tools are read: auto (by the template), or vLLM's names.")
    ] = "auto"
    served_model_name: Annotated[list[str] | None, typer.Option(help="What requests call it. May be repeated.")] = None
    api_key: Annotated[
        list[str] | None,
        typer.Option(envvar="WINDOWTAX_API_KEY", help="A key that clients must send. May be repeated."),
    ] = None
    api_keys_file: Annotated[Path | None, typer.Option(help="A TOML file of keys with their names and limits.")] = None
    allowed_hosts: Annotated[list[str] | None, typer.Option(help="Names that browsers may use. May be repeated.")] = (
        None
    )
    cors_origin: Annotated[list[str] | None, typer.Option(help="Pages elsewhere that may ask. May be repeated.")] = None
    max_body_bytes: Annotated[str, typer.Option(help="The longest request body.")] = "64MiB"
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; more get 429 and Retry-After.")] = 256
    request_timeout: Annotated[float | None, typer.Option(help="Seconds for a whole request. Default: no limit.")] = (
        None
    )
    drain_timeout: Annotated[float, typer.Option(help="Seconds for running requests when the server ends.")] = 30.0
    usd_per_hour: Annotated[float | None, typer.Option(help="What this machine costs. Default: an assumed rent.")] = (
        None
    )
    compare_api: Annotated[
        str | None, typer.Option(metavar="PROVIDER/MODEL", help="The API that bills compare with.")
    ] = None
    ledger: Annotated[str | None, typer.Option(help="The ledger's file, or none. Default: in the user's folder.")] = (
        None
    )
    log_format: Annotated[str, typer.Option(help="json or text.")] = "json"
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info"
    config: ConfigFile = None
