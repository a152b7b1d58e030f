"""`windowtax cache explain`: why a prefix was not found, of a running server's request or of two request bodies."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import typer

from windowtax.base.errors import BadInput, UnknownName
from windowtax.cli import cache_explain_text as text
from windowtax.cli.ask import DEFAULT_MODEL
from windowtax.cli.console import console, messages
from windowtax.cli.price_words import print_json
from windowtax.spec.cache import DEFAULT_BLOCK_SIZE

_TIMEOUT_S = 30.0

What = Annotated[
    list[str] | None,
    typer.Argument(metavar="REQUEST_ID | A.json B.json", help="A server's request, or two request bodies to compare."),
]


def explain(
    what: What = None,
    *,
    last: Annotated[bool, typer.Option("--last", help="The server's last request of this key.")] = False,
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    key: Annotated[str | None, typer.Option(envvar="WINDOWTAX_API_KEY", help="The key that asked.")] = None,
    cache_salt: Annotated[str, typer.Option(help="The cache_salt of the request, if it had one.")] = "",
    model: Annotated[
        str, typer.Option("--model", "-m", help="For bodies: whose tokenizer and template; a name, .gguf or folder.")
    ] = DEFAULT_MODEL,
    chat_template: Annotated[Path | None, typer.Option(help="A Jinja file instead of the model's own.")] = None,
    price: Annotated[str | None, typer.Option(metavar="PROVIDER/MODEL", help="Whose list prices count.")] = None,
    normalize: Annotated[
        list[str] | None, typer.Option(metavar="KIND[=WAY]", help="Show what the server's --normalize would do.")
    ] = None,
    block_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a block.")] = DEFAULT_BLOCK_SIZE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Why the cache held no more: of a request to a running server, or of two request bodies without one."""
    from windowtax.cli.extras import need_engine, need_server

    need_engine()
    need_server()
    given = what or []
    if len(given) == 2 and not last:
        found = _compared([Path(one) for one in given], model, chat_template, price, normalize or [], block_tokens)
        print_json(found) if as_json else text.show_comparison(console(), found)
        return
    if len(given) == 1 and Path(given[0]).is_file():
        raise BadInput(f"{given[0]} alone cannot be compared.", "Name two files with request bodies.")
    if len(given) != (0 if last else 1):
        raise BadInput("There is nothing to explain.", "Name a request, or --last, or two files with request bodies.")
    found = _asked(url, given[0] if given else None, key, cache_salt)
    print_json(found) if as_json else text.show_miss(console(), found)


def _compared(
    paths: list[Path], model: str, template: Path | None, price: str | None, normalize: list[str], block: int
) -> dict[str, Any]:
    from windowtax.cli.cache_compare import Reading, compared, read_body
    from windowtax.cli.models import pull_with_bar
    from windowtax.engine.tokenizer import load_tokenizer
    from windowtax.price.api import PriceList
    from windowtax.server.normalize import Normalizer
    from windowtax.server.settings import DEFAULT_PRICE_LIST

    bodies, names = [read_body(path) for path in paths], [str(path) for path in paths]
    prices = DEFAULT_PRICE_LIST if price is None else PriceList.parse(price)
    tokenizer = load_tokenizer(pull_with_bar(model, messages()))
    reading = Reading(tokenizer=tokenizer, template=None if template is None else _read(template))
    found = {"model": model, "files": names, **compared(reading, bodies, names, prices, block)}
    if normalize:
        reading = replace(reading, normalizer=Normalizer.parse(normalize))
        found["normalized"] = compared(reading, bodies, names, prices, block)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"The chat template {path} cannot be read: {error}") from None


def _asked(url: str, request_id: str | None, key: str | None, salt: str) -> dict[str, Any]:
    """What the server kept of a request, the last one where no id is given. Raises BadInput, UnknownName."""
    path = "/v1/cache/explain" if request_id is None else f"/v1/cache/explain/{quote(request_id, safe='')}"
    query = f"?{urlencode({'cache_salt': salt})}" if salt else ""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"{url} is no address.", "Write --url http://127.0.0.1:8000.")
    try:
        with urlopen(Request(f"{url.rstrip('/')}{path}{query}", headers=headers), timeout=_TIMEOUT_S) as reply:
            found = json.load(reply)
    except HTTPError as error:
        raise UnknownName(f"The server at {url} says: {_message(error)}") from None
    except (URLError, TimeoutError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise BadInput(f"No windowtax server answers at {url}: {reason}.", "Name it with --url.") from None
    if request_id is not None:
        return found
    if not found["requests"]:
        raise UnknownName("The server has had no request of this key and cache_salt yet.")
    return found["requests"][0]


def _message(error: HTTPError) -> str:
    try:
        return json.load(error)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
