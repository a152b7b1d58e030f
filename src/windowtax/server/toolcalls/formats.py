"""Which format a model writes its calls in: read off its chat template, since that is what it was trained with."""

from collections.abc import Callable

from windowtax.base.errors import BadInput
from windowtax.server.toolcalls.bare import BareReader
from windowtax.server.toolcalls.deltas import Reader
from windowtax.server.toolcalls.gemma import function_gemma_reader, gemma4_reader
from windowtax.server.toolcalls.marked import MarkedReader
from windowtax.server.toolcalls.pythonic import FENCE, PythonicReader

AUTO = "auto"
HERMES, LLAMA, PYTHONIC = "hermes", "llama3_json", "pythonic"
FUNCTION_GEMMA, GEMMA4 = "functiongemma", "gemma4"
READERS: dict[str, Callable[[], Reader]] = {
    HERMES: MarkedReader,
    LLAMA: BareReader,
    PYTHONIC: PythonicReader,
    FUNCTION_GEMMA: function_gemma_reader,
    GEMMA4: gemma4_reader,
}
"""By the names that vLLM's --tool-call-parser has for them."""
MARKS = {
    HERMES: ("<tool_call>", "</tool_call>"),
    FUNCTION_GEMMA: ("<start_function_call>", "<end_function_call>", "<escape>"),
    GEMMA4: ("<|tool_call>", "<tool_call|>", '<|"|>'),
}
"""What a reader must find in the text, also where a model has special tokens for it."""
HELD = (HERMES, LLAMA)
"""Formats in which a grammar can hold calls to schemas: their arguments are JSON."""
_SIGNS = (
    ("<|tool_call>", GEMMA4),
    ("<start_function_call>", FUNCTION_GEMMA),
    ("<tool_call>", HERMES),
    ("<|python_tag|>", LLAMA),
    (FENCE, PYTHONIC),
    ("[func_name1(", PYTHONIC),
    ('"parameters": ', LLAMA),
)
"""What a template says where it tells of calls; the first that it says counts."""


def format_of(template: str | None) -> str:
    """The name of the format; hermes where the template names none, because then the tools are told in that format."""
    return next((name for sign, name in _SIGNS if sign in (template or "")), HERMES)


def check_parser(name: str) -> None:
    """Raises BadInput for a format that nobody reads here."""
    if name != AUTO and name not in READERS:
        raise BadInput(f"There is no tool call parser {name!r}.", f"Write {AUTO}, {', '.join(READERS)}.")


def reader_of(name: str) -> Reader:
    """A reader of that format, for one answer."""
    return READERS[name]()
