"""From a request's words to the grammar that its answer must follow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.engine.grammar import HERMES_CALLS, LLAMA_CALLS, Grammar, Grammars
from windowtax.server.errors import Json, bad_field
from windowtax.server.toolcalls.formats import LLAMA

ANY_OBJECT: Json = {"type": "object"}
_STRUCTURED = "structured_outputs"


def schema_grammar(grammars: Grammars, schema: Mapping[str, Any]) -> Grammar:
    """All texts that fit a JSON schema. Raises ApiError 400."""
    return _tried("response_format", lambda: grammars.json_schema(schema))


def calls_grammar(
    grammars: Grammars, tools: Sequence[Json], tool_format: str, *, required: bool, parallel: bool
) -> Grammar:
    """Calls of these tools, with arguments that fit their schemas. Raises ApiError 400."""
    form = LLAMA_CALLS if tool_format == LLAMA else HERMES_CALLS  # another format is told to write as Hermes does
    schemas = {tool["name"]: tool["parameters"] for tool in tools}
    return _tried("tools", lambda: grammars.tool_calls(schemas, form, required=required, parallel=parallel))


def structured_grammar(grammars: Grammars, asked: Mapping[str, Any] | None) -> Grammar | None:
    """vLLM's `structured_outputs`: one of json, regex, choice, grammar (Lark or GBNF). Raises ApiError 400."""
    given = {name: value for name, value in (asked or {}).items() if value is not None}
    if not given:
        return None
    if len(given) > 1:
        raise bad_field(_STRUCTURED, f"{_STRUCTURED} holds {', '.join(given)[:200]}; an answer can follow one of them.")
    name, value = next(iter(given.items()))
    make = {
        "json": lambda: grammars.json_schema(value) if isinstance(value, dict) else None,
        "json_object": lambda: grammars.json_object() if value is True else None,
        "regex": lambda: grammars.regex(value) if isinstance(value, str) else None,
        "choice": lambda: grammars.choice(value) if _texts(value) else None,
        "grammar": lambda: grammars.context_free(value) if isinstance(value, str) else None,
    }.get(name)
    grammar = None if make is None else _tried(_STRUCTURED, make)
    if grammar is None:
        raise bad_field(
            _STRUCTURED, f"{_STRUCTURED} takes json (a schema), json_object (true), regex, choice (texts) or grammar."
        )
    return grammar


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _tried(param: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except BadInput as error:
        raise bad_field(param, f"{error.message} {error.hint}".strip(), "invalid_grammar") from None
