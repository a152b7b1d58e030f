"""`windowtax ask`: put a question to texts, in our own engine, and see the bill."""

import json
import sys
from typing import Annotated

import typer

from windowtax.cli.console import console, messages
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS

DEFAULT_MODEL = "qwen2.5-coder-0.5b"

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A name from `windowtax models list`, a .gguf file, or a folder.")
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="What is computed with: bf16, fp16, fp32.")]
CACHE_DTYPE_HELP = "In what keys and values are kept: bf16, fp16, fp32, fp8, int8, k8v4, k4v4."
CacheDtypeOption = Annotated[str, typer.Option("--cache-dtype", help=CACHE_DTYPE_HELP)]
WeightsOption = Annotated[
    str,
    typer.Option("--weights", help="In what bits weights are kept: stored (as in the file), full, int8, int4."),
]
AttentionOption = Annotated[
    str | None,
    typer.Option(
        "--attention", help="A lever over full attention, such as full=sinks:4+window:4096 or full=topk:64+block:32."
    ),
]
RopeOption = Annotated[
    str | None, typer.Option("--rope", help="A RoPE scaling laid over the model's own, such as yarn:4 or linear:2.")
]
PriceOption = Annotated[
    float | None, typer.Option("--usd-per-hour", help="What this machine costs per hour. Without it: an assumed rent.")
]


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            help="A text: a file, a folder, - for standard input, or builtin:python-reference. May be repeated.",
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    cache_dtype: CacheDtypeOption = "bf16",
    weights: WeightsOption = "stored",
    attention: AttentionOption = None,
    rope: RopeOption = None,
    dtype: DtypeOption = "bf16",
    max_tokens: Annotated[int, typer.Option(help="The most tokens of the answer.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token always.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Sample from the k likeliest tokens; 0 for all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Sample from the likeliest tokens that together have this share.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Drop tokens less likely than this share of the likeliest.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: tokens that stood before get less likely.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text. May be repeated.")] = None,
    step_tokens: Annotated[
        int, typer.Option(help="The most tokens that one step computes (prefill chunk).")
    ] = DEFAULT_STEP_TOKENS,
    speculate: Annotated[
        str, typer.Option(help="Guess ahead what the text says: none, or ngram (greedy only).")
    ] = "none",
    cache_bytes: Annotated[str | None, typer.Option(help="The most that the KV cache may take, such as 2GiB.")] = None,
    usd_per_hour: PriceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print answer and bill as JSON.")] = False,
) -> None:
    """Answer a QUESTION from texts and print the bill: tokens, times, bytes predicted and measured, dollars."""
    from windowtax.cli.extras import need_engine

    need_engine()
    from windowtax.base.units import parse_bytes
    from windowtax.cli.asking import answer, load, open_model, put_together
    from windowtax.cli.bill_view import print_bill
    from windowtax.engine.bill_record import bill_record
    from windowtax.engine.sampling import SamplingParams
    from windowtax.engine.session import EngineOptions
    from windowtax.texts.read import read_documents

    params = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        max_tokens=max_tokens,
        stop=tuple(stop or ()),
    )
    limit = None if cache_bytes is None else parse_bytes(cache_bytes)
    options = EngineOptions(
        cache_dtype=cache_dtype,
        step_tokens=step_tokens,
        limit_bytes=limit,
        draft_tokens=draft_tokens(speculate),
        weights=weights,
    )
    err = messages()
    reading = read_documents(file or [])
    for skipped in reading.skipped:
        err.print(f"skipped {skipped.path}: {skipped.reason}", markup=False, highlight=False)
    files = open_model(model, dtype, err, rope=rope, attention=attention)
    loaded, prompt = load(
        files, lambda: put_together(files, reading.documents, question, max_tokens, err), max_tokens, options, err
    )

    def show(text: str) -> None:
        if not as_json:
            sys.stdout.write(text)
            sys.stdout.flush()

    result = answer(loaded, prompt, params, options, err=err, show=show, usd_per_hour=usd_per_hour)
    if as_json:
        typer.echo(json.dumps({"answer": result.text, "bill": bill_record(result.bill)}, indent=2))
        return
    sys.stdout.write("\n\n")
    print_bill(result.bill, console())


def draft_tokens(speculate: str) -> int:
    """How many tokens --speculate lets an engine guess ahead. Raises BadInput."""
    from windowtax.base.errors import BadInput
    from windowtax.engine.speculate import DRAFT_TOKENS

    if speculate not in ("none", "ngram"):
        raise BadInput(f"There is no speculation called {speculate!r}.", "Use --speculate none or ngram.")
    return DRAFT_TOKENS if speculate == "ngram" else 0
