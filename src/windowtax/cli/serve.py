"""`windowtax serve`: a model behind an OpenAI- and Anthropic-compatible server, with a bill on every answer."""

from typing import Annotated

import typer

from windowtax.base.errors import BadInput
from windowtax.cli.ask import DEFAULT_MODEL
from windowtax.cli.plan_words import asks
from windowtax.cli.serve_words import ServeWords


@asks(ServeWords)
def serve(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A name, a .gguf file, or a folder.")] = None,
    *,
    question: ServeWords,
) -> None:
    """Serve MODEL over HTTP: OpenAI's and Anthropic's endpoints, prefixes kept, a bill in every answer."""
    from windowtax.cli.extras import need_engine, need_server

    need_engine()
    need_server()
    from windowtax.cli.serving import run

    if model is not None and question.same_model is not None:
        raise BadInput("The model is named twice.", "Give MODEL or --model.")
    run(model or question.same_model or DEFAULT_MODEL, question)
