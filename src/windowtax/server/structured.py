"""vLLM's `structured_outputs`: an answer held to a schema, a pattern, a choice or a grammar."""

import json
from collections.abc import Mapping
from typing import Any

from llguidance import LLMatcher

from windowtax.server.errors import bad_field
from windowtax.server.toolcalls.grammar import schema_grammar

_WHERE = "structured_outputs"


def structured_grammar(asked: Mapping[str, Any] | None) -> str | None:
    """The grammar of one of json, regex, choice, grammar (Lark). Raises ApiError 400 for anything else."""
    given = {name: value for name, value in (asked or {}).items() if value is not None}
    if not given:
        return None
    if len(given) > 1:
        raise bad_field(_WHERE, f"{_WHERE} holds {', '.join(given)}; an answer can follow one of them.")
    name, value = next(iter(given.items()))
    if name == "json" and isinstance(value, dict | str):
        return schema_grammar(_schema(value), _WHERE)
    if name == "regex" and isinstance(value, str):
        return LLMatcher.grammar_from_regex(value)
    if name == "choice" and isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return "start: " + " | ".join(json.dumps(one, ensure_ascii=False) for one in value)
    if name == "grammar" and isinstance(value, str):
        return value
    raise bad_field(_WHERE, f"{_WHERE} takes json (a schema), regex, choice (a list of texts) or grammar (Lark).")


def _schema(value: dict[str, Any] | str) -> dict[str, Any]:
    try:
        schema = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        raise bad_field(_WHERE, f"{_WHERE}.json is no JSON schema.")
    return schema
