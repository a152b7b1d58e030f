"""The options of `windowtax plan`, `compare` and `sweep`, written down once, and what they mean."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from windowtax.base.units import parse_tokens
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.catalog.read import read_model
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS
from windowtax.plan.plan import PlanOptions
from windowtax.plan.schemes import CHECKPOINT, SCHEMES
from windowtax.plan.words import levered, plan_options
from windowtax.spec.dtypes import CACHE_DTYPES
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import DEFAULT_OUTPUT_TOKENS, Workload

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A catalog name, a config.json, its folder, or a .gguf file.")
]
Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Catalog names, config.json or .gguf files.")]
Context = Annotated[str, typer.Option(help="The window, prompt and output together: 131072 or 128K.")]
Contexts = Annotated[str, typer.Option(help="Windows: 4K..1M (each twice the last) or 8K,32K,128K.")]
Users = Annotated[int, typer.Option(help="Windows held at the same time.")]
Output = Annotated[int, typer.Option(help="Generated tokens of each call, part of the window.")]
Cached = Annotated[str, typer.Option(help="Tokens of each prompt that a prefix cache holds already.")]
HardwareName = Annotated[str, typer.Option("--hardware", help="A device of the catalog, or this-machine.")]
Gpus = Annotated[int | None, typer.Option(help="Exactly so many accelerators. Default: the fewest that hold it.")]
CacheDtypeName = Annotated[
    str, typer.Option(help=f"Bits of keys and values: {', '.join([CHECKPOINT, *CACHE_DTYPES])}; k8v4; +edges:2.")
]
Weights = Annotated[str, typer.Option(help=f"Bits of the weights: {', '.join([CHECKPOINT, *SCHEMES])}.")]
Rope = Annotated[str | None, typer.Option(help="A RoPE scaling laid over the model, such as yarn:4.")]
Attention = Annotated[
    str | None, typer.Option(help="A lever over full attention: full=sinks:4+window:4096, full=topk:64+block:16.")
]
Drafts = Annotated[bool, typer.Option("--drafts", help="Count the layers of multi-token prediction: they draft.")]
Chunk = Annotated[int, typer.Option(help="Most tokens of one prompt that a prefill step computes.")]
Price = Annotated[
    float | None, typer.Option("--usd-per-hour", help="Price of one accelerator, instead of the catalog's.")
]
Arrangement = Annotated[
    str | None, typer.Option("--parallel", help="Exactly this arrangement, such as tp=8,pp=2 (tp, pp, ep, ring, dp).")
]
SloTtft = Annotated[
    str | None,
    typer.Option(help="Promise a mean time to the first token, such as 2s, or for a share, p90:2s: how many GPUs?"),
]
SloTpot = Annotated[
    str | None,
    typer.Option(
        help="Promise a mean time per further token, such as 50ms, or for a share of answers, p90:50ms: how many GPUs?"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (docs/reference/plan-json.md).")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a model, as typed: each field is an option."""

    context: Context = "128K"
    users: Users = 1
    output_tokens: Output = DEFAULT_OUTPUT_TOKENS
    cached_tokens: Cached = "0"
    hardware: HardwareName = "h100-sxm"
    gpus: Gpus = None
    cache_dtype: CacheDtypeName = CHECKPOINT
    weights: Weights = CHECKPOINT
    rope: Rope = None
    attention: Attention = None
    drafts: Drafts = False
    chunk: Chunk = DEFAULT_CHUNK_TOKENS
    usd_per_hour: Price = None
    parallel: Arrangement = None
    slo_ttft: SloTtft = None
    slo_tpot: SloTpot = None

    def spec(self, model: str) -> ModelSpec:
        """That model, with the levers of this question. Raises what reading and levers raise."""
        return levered(read_model(model), rope=self.rope, attention=self.attention, drafts=self.drafts)

    def device(self) -> Hardware:
        """The hardware, at the price given. Raises UnknownName."""
        return priced_device(self.hardware, self.usd_per_hour)

    def workload(self, context_tokens: int | None = None) -> Workload:
        """The traffic. context_tokens: instead of --context. Raises BadInput."""
        cached = 0 if self.cached_tokens.strip() == "0" else parse_tokens(self.cached_tokens)
        return Workload(
            context_tokens=context_tokens or parse_tokens(self.context),
            output_tokens=self.output_tokens,
            users=self.users,
            cached_tokens=cached,
        )

    def options(self) -> PlanOptions:
        """How the model is held. Raises BadInput."""
        return plan_options(
            cache_dtype=self.cache_dtype,
            weights=self.weights,
            gpus=self.gpus,
            chunk=self.chunk,
            parallel=self.parallel,
            slo_ttft=self.slo_ttft,
            slo_tpot=self.slo_tpot,
        )


@dataclass(frozen=True, kw_only=True)
class SweepQuestion(Question):
    """The same over a row of windows."""

    context: Contexts = "4K..1M"


def priced_device(name: str, usd_per_hour: float | None) -> Hardware:
    """A device of the catalog, at the price given if there is one. Raises UnknownName, BadInput."""
    device = find_hardware(name)
    if usd_per_hour is None:
        return device
    return device.priced(usd_per_hour, datetime.now(tz=UTC).date().isoformat())


def asks(words: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command of a function whose `question` is such a dataclass: its fields become options, in its place."""
    hints = get_type_hints(words, include_extras=True)
    options = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(words)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters.values()
        first = [one for one in own if one.kind is not inspect.Parameter.KEYWORD_ONLY]
        rest = [one for one in own if one.kind is inspect.Parameter.KEYWORD_ONLY and one.name != "question"]

        @wraps(command)
        def run(*given: Any, **typed: Any) -> None:
            asked = {one.name: typed.pop(one.name) for one in options if one.name in typed}
            command(*given, question=words(**asked), **typed)

        made: Any = run
        made.__signature__ = inspect.Signature([*first, *options, *rest])
        made.__annotations__ = {one.name: one.annotation for one in (*first, *options, *rest)}
        return run

    return decorate
