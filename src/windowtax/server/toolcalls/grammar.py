"""Grammars that hold an answer to a schema or to calls of tools; llguidance compiles and enforces them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llguidance import LLMatcher

from windowtax.server.errors import bad_field
from windowtax.server.toolcalls.formats import LLAMA

_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As models write JSON in their training data; free blanks let a small model write nothing else."""
ANY_OBJECT: dict[str, Any] = {"type": "object"}


def schema_grammar(schema: Mapping[str, Any], param: str) -> str:
    """A grammar of all texts that fit a JSON schema. Raises ApiError 400 where it cannot be followed."""
    try:
        grammar = LLMatcher.grammar_from_json_schema(dict(schema), overrides=_SPACING)
    except ValueError as error:
        raise bad_field(param, f"This JSON schema cannot be followed: {error}") from None
    return checked(grammar, param)


def calls_grammar(tools: Sequence[Mapping[str, Any]], tool_format: str, *, several: bool) -> str:
    """A grammar of one call of one of these tools, or of one or several. Raises ApiError 400."""
    key = "parameters" if tool_format == LLAMA else "arguments"
    begin, end, between = ("", "", "; ") if tool_format == LLAMA else ("<tool_call>\n", "\n</tool_call>", "\n")
    rules = ["%llguidance {}", f"start: call ({_quoted(between)} call)*" if several else "start: call"]
    rules.append(f"call: {_quoted(begin)} body {_quoted(end)}")
    rules.append("body: " + " | ".join(f"tool_{place}" for place in range(len(tools))))
    for place, tool in enumerate(tools):
        schema = json.dumps({**(tool.get("parameters") or ANY_OBJECT), "x-guidance": _SPACING})
        head = f'{{"name": {json.dumps(tool["name"], ensure_ascii=False)}, "{key}": '
        rules.append(f"tool_{place}: {_quoted(head)} %json {schema} {_quoted('}')}")
    return checked("\n".join(rules) + "\n", "tools")


def checked(grammar: str, param: str) -> str:
    """The grammar, if it is one. Raises ApiError 400."""
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if failed:
        raise bad_field(param, f"{param} asks for what cannot be enforced: {messages[0][:500]}", "invalid_grammar")
    return grammar


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
