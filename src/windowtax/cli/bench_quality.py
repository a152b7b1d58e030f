"""`windowtax bench quality`: what cache and weights in fewer bits cost in quality, on a real text."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, parse_tokens
from windowtax.cli.ask import DtypeOption, ModelOption
from windowtax.cli.columns import columns
from windowtax.cli.console import console, messages

if TYPE_CHECKING:
    from windowtax.engine.load import ModelFiles
    from windowtax.engine.quality import Quality

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_TEXT = "builtin:python-reference"
PROMPT_TOKENS = 1024
"""Of the text, which the greedy answer follows."""
CACHE_DTYPES = ("bf16", "fp16", "fp8", "fp8_token_head", "int8", "k8v4", "k4v4")


def quality(
    model: ModelOption = DEFAULT_MODEL,
    dtype: DtypeOption = "bf16",
    cache_dtype: Annotated[
        list[str] | None,
        typer.Option("--cache-dtype", help="May be repeated; the first is what the others are held against."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", help="The same for weights, as in `windowtax ask`; full unless given."),
    ] = None,
    text: Annotated[str, typer.Option("--file", "-f", help="The text to read, as in `windowtax ask`.")] = DEFAULT_TEXT,
    window: Annotated[str, typer.Option(help="Tokens of a window, such as 4K.")] = "4K",
    windows: Annotated[int, typer.Option(min=1, help="How many windows are read, one after the other.")] = 1,
    greedy_tokens: Annotated[int, typer.Option(min=1, help="Greedy tokens to compare.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure perplexity, divergence and greedy agreement of caches and weights in fewer bits, on a real text."""
    from windowtax.cli.extras import need_engine

    need_engine()
    from windowtax.cli.asking import open_model
    from windowtax.engine.quality import Choice, measure_quality

    err, size = messages(), parse_tokens(window)
    files = open_model(model, dtype, err)
    read = _windows(files, text, size, windows)
    caches, kept = cache_dtype or CACHE_DTYPES, weights or ("full",)
    with err.status("loading ...") as status:
        found = measure_quality(
            files,
            read,
            [Choice(kept[0], name) for name in caches] + [Choice(name, caches[0]) for name in kept[1:]],
            prompt_tokens=min(PROMPT_TOKENS, size),
            greedy_tokens=greedy_tokens,
            progress=lambda what, done: status.update(f"{what}: {done:,} of {size * windows:,} tokens read"),
        )
    reading = {"model": files.spec.name, "compute_dtype": dtype, "text": text, "window_tokens": size}
    reading |= {"windows": windows, "prompt_tokens": min(PROMPT_TOKENS, size), "greedy_tokens": greedy_tokens}
    if as_json:
        typer.echo(json.dumps({**reading, "measured": [asdict(one) for one in found]}, indent=2))
        return
    out = console()
    out.print(columns(out, _table(found, greedy_tokens), names=2))
    out.print(_note(reading, found[0]), highlight=False, soft_wrap=True)


def _windows(files: "ModelFiles", text: str, size: int, count: int) -> list[list[int]]:
    """The first windows of the text, as token ids. Raises BadInput."""
    from windowtax.texts.read import read_documents

    if files.tokenizer is None:
        raise BadInput(f"{files.spec.name} has no tokenizer.json.", "Put the model's tokenizer.json into its folder.")
    token_ids = files.tokenizer.encode("\n\n".join(document.text for document in read_documents([text]).documents))
    if len(token_ids) < size * count or size < 2:
        raise BadInput(
            f"{count:,} windows of {size:,} tokens are {size * count:,}; the text has {len(token_ids):,}.",
            "Take a longer text, or fewer or shorter windows of at least 2 tokens.",
        )
    return [token_ids[begin : begin + size] for begin in range(0, size * count, size)]


def _note(reading: dict[str, Any], first: "Quality") -> str:
    return (
        f"{reading['model']} computed in {reading['compute_dtype']} on {reading['windows']:,} x "
        f"{reading['window_tokens']:,} tokens of {reading['text']}. The greedy answer of the first row, weights "
        f"{first.weights} and cache {first.cache_dtype}, follows the first {reading['prompt_tokens']:,} tokens; "
        "counted is what each would have chosen in the same places. Bytes are derived, the rest is measured, against "
        "the first row."
    )


def _table(found: "list[Quality]", greedy_tokens: int) -> list[list[str]]:
    heads = ["weights", "cache", "perplexity", "change", "KL, nats", "same choice", f"same of {greedy_tokens} greedy"]
    lines = [[*heads, "bytes per token", "weights take", "computed by"]]
    for one in found:
        line = [one.weights, one.cache_dtype, f"{one.perplexity:.4f}"]
        line += [f"{one.perplexity / found[0].perplexity - 1:+.2%}", f"{one.divergence_nats:.5f}"]
        line += [f"{one.same_choice:.2%}", f"{one.same_greedy_tokens}", f"{one.cache_bytes_per_token:,}"]
        lines.append([*line, format_bytes(one.weight_bytes), one.computed_by])
    return lines
