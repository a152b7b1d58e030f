"""Calls written as Python: [f(a=1), g(b="x")] as the whole answer, or a ```tool_code block, as Gemma 3 and Llama 4 do.

Gemma 3 has no tokens for calls: its developers tell it to write them so. vLLM calls this format "pythonic".
"""

import ast
import warnings
from typing import Any

from windowtax.server.toolcalls.block import BlockReader, Call
from windowtax.server.toolcalls.deltas import Delta

FENCE = "```tool_code"
_CONSTANTS = {"true": True, "false": False, "null": None}


class PythonicReader:
    """An answer that begins with a bracket is read as calls once it is complete; in any other, fenced blocks are."""

    def __init__(self) -> None:
        self._blocks = BlockReader(FENCE, "```", calls_of)
        self._held = ""
        self._is_list: bool | None = None

    def push(self, text: str) -> list[Delta]:
        """What is certain with this text and was not before."""
        if self._is_list is False:
            return self._blocks.push(text)
        self._held += text
        begun = self._held.lstrip()
        if not begun:
            return []
        if self._is_list is None:
            self._is_list = begun.startswith("[")
        if self._is_list:
            return []
        held, self._held = self._held, ""
        return self._blocks.push(held)

    def finish(self) -> list[Delta]:
        """The calls of a list; what holds none is text."""
        held, self._held = self._held, ""
        found = self._blocks.calls(held) if self._is_list else []
        return found or [*self._blocks.push(held), *self._blocks.finish()]


def calls_of(text: str) -> list[Call]:
    """The calls that Python code consists of: one, several in a list, or one per line. Raises ValueError for others."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in what a model wrote
            tree = ast.parse(text.strip())
        return [_call(node) for statement in tree.body for node in _nodes(statement)]
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"no calls: {error}") from error


def _nodes(statement: ast.stmt) -> list[ast.expr]:
    value = statement.value if isinstance(statement, ast.Expr) else ast.Constant(None)
    return value.elts if isinstance(value, ast.List | ast.Tuple) else [value]


def _call(node: ast.expr) -> Call:
    """A call with its arguments by name."""
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("this is no call, or an argument has no name")
    return ast.unparse(node.func), {_name(one.arg): _value(one.value) for one in node.keywords}


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError("a name is missing")
    return name


def _value(node: ast.expr) -> Any:
    """A constant that JSON has too."""
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(one) for one in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_name(None if key is None else _value(key)) for key in node.keys]
        return dict(zip(keys, map(_value, node.values), strict=True))
    value = ast.literal_eval(node)
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{value!r} is no JSON")
    return value
