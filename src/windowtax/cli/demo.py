"""`windowtax demo`: the main job on real input, as `make run` runs it."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.rule import Rule

from windowtax.cli.ask import DEFAULT_MODEL, CacheDtypeOption, DtypeOption, ModelOption, PriceOption, WeightsOption
from windowtax.cli.console import console, messages

TOPICS = "builtin:python-reference/comparisons,execmodel,identifiers,import,typesmapping"
QUESTION = "To which normal form are all identifiers converted while parsing?"
"""The answer, NFKC, stands in the middle of the text. The default model does not know it without."""
MAX_TOKENS = 64
ELSEWHERE = "l4"


def demo(
    model: ModelOption = DEFAULT_MODEL,
    cache_dtype: CacheDtypeOption = "bf16",
    weights: WeightsOption = "stored",
    dtype: DtypeOption = "bf16",
    usd_per_hour: PriceOption = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the bill into this SVG file too.")] = None,
) -> None:
    """Read a long text that every Python carries, answer a question with it and without it, and show the bill."""
    from windowtax.cli.extras import need_engine

    need_engine()
    from windowtax.cli.asking import answer, load, open_model, put_together
    from windowtax.cli.bill_view import print_bill, save_picture
    from windowtax.cli.plan import plan
    from windowtax.engine.sampling import SamplingParams
    from windowtax.engine.session import EngineOptions
    from windowtax.texts.read import read_documents

    err, out = messages(), console()
    params, options = SamplingParams(max_tokens=MAX_TOKENS), EngineOptions(cache_dtype=cache_dtype, weights=weights)
    files = open_model(model, dtype, err)
    loaded, context_tokens = None, 0
    for title, texts in (("without the text", []), (f"with the text: {TOPICS}", [TOPICS])):
        out.print(Rule(title, align="left", style="dim"))
        out.print(f"question: {QUESTION}", highlight=False)
        documents = read_documents(texts).documents
        make_prompt = partial(put_together, files, documents, QUESTION, MAX_TOKENS, err)
        if loaded is None:
            loaded, prompt = load(files, make_prompt, MAX_TOKENS, options, err)
        else:
            prompt = make_prompt()
        result = answer(loaded, prompt, params, options, err=err, show=_show, usd_per_hour=usd_per_hour)
        sys.stdout.write("\n\n")
        context_tokens = len(prompt.token_ids) + MAX_TOKENS
        if texts:
            print_bill(result.bill, out)
            if picture is not None:
                save_picture(result.bill, picture)
    out.print(Rule(f"the same window elsewhere: windowtax plan {model} --context {context_tokens}", align="left"))
    plan(model, context=str(context_tokens), hardware=ELSEWHERE)
    typer.echo(f"More: windowtax plan llama-3.1-70b --context 128K --explain; windowtax compare {model} llama-3.1-8b")


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
