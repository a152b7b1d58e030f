"""`windowtax bench quality`: what a cache in fewer bits costs in quality, on a real text."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from windowtax.cli.ask import DtypeOption, ModelOption
from windowtax.cli.console import console, messages

if TYPE_CHECKING:
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
    text: Annotated[str, typer.Option("--file", "-f", help="The text to read, as in `windowtax ask`.")] = DEFAULT_TEXT,
    window: Annotated[str, typer.Option(help="Tokens of a window, such as 4K.")] = "4K",
    windows: Annotated[int, typer.Option(min=1, help="How many windows are read, one after the other.")] = 1,
    greedy_tokens: Annotated[int, typer.Option(min=1, help="Greedy tokens to compare.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure perplexity, divergence and greedy agreement of each cache dtype against the first, on a real text."""
    from windowtax.cli.extras import need_engine

    need_engine()
    from windowtax.base.errors import BadInput
    from windowtax.base.units import parse_tokens
    from windowtax.cli.asking import open_model
    from windowtax.engine.quality import measure_quality
    from windowtax.texts.read import read_documents

    err = messages()
    size = parse_tokens(window)
    files = open_model(model, dtype, err)
    if files.tokenizer is None:
        raise BadInput(f"{files.spec.name} has no tokenizer.json.", "Put the model's tokenizer.json into its folder.")
    token_ids = files.tokenizer.encode("\n\n".join(document.text for document in read_documents([text]).documents))
    if len(token_ids) < size * windows or size < 2:
        raise BadInput(
            f"{windows:,} windows of {size:,} tokens are {size * windows:,}; the text has {len(token_ids):,}.",
            "Take a longer text, or fewer or shorter windows of at least 2 tokens.",
        )
    chosen = tuple(cache_dtype or CACHE_DTYPES)
    prompt_tokens = min(PROMPT_TOKENS, size)
    with err.status("loading ...") as status:
        found = measure_quality(
            files.load(),
            [token_ids[begin : begin + size] for begin in range(0, size * windows, size)],
            chosen,
            prompt_tokens=prompt_tokens,
            greedy_tokens=greedy_tokens,
            progress=lambda what, done: status.update(f"{what}: {done:,} of {size * windows:,} tokens read"),
        )
    reading = {
        "model": files.spec.name,
        "compute_dtype": dtype,
        "text": text,
        "window_tokens": size,
        "windows": windows,
    }
    reading |= {"prompt_tokens": prompt_tokens, "greedy_tokens": greedy_tokens}
    if as_json:
        typer.echo(json.dumps({**reading, "measured": [asdict(one) for one in found]}, indent=2))
        return
    out = console()
    out.print(_table(found, greedy_tokens))
    out.print(
        f"{files.spec.name} computed in {dtype} on {windows:,} x {size:,} tokens of {text}. The greedy answer of "
        f"{chosen[0]} follows the first {prompt_tokens:,} tokens; counted is what each would have chosen in the same "
        f"places. Bytes are derived, the rest is measured, against {chosen[0]}.",
        highlight=False,
        soft_wrap=True,
    )


def _table(found: "list[Quality]", greedy_tokens: int) -> Table:
    table = Table(title="quality of the cache dtypes", title_justify="left")
    table.add_column("cache dtype")
    for name in ("B per token", "perplexity", "against the first", "KL, nats", "same choice", "same greedy tokens"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            one.cache_dtype,
            f"{one.cache_bytes_per_token:,}",
            f"{one.perplexity:.4f}",
            f"{one.perplexity / found[0].perplexity - 1:+.2%}",
            f"{one.divergence_nats:.5f}",
            f"{one.same_choice:.2%}",
            f"{one.same_greedy_tokens} of {greedy_tokens}",
        )
    return table
