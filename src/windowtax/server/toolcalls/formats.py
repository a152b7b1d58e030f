"""Which format a model writes its calls in: read off its chat template, since that is what it was trained with."""

from windowtax.server.toolcalls.bare import BareReader
from windowtax.server.toolcalls.deltas import Reader
from windowtax.server.toolcalls.marked import MarkedReader

HERMES, LLAMA = "hermes", "llama"


def format_of(template: str | None) -> str:
    """The name of the format; hermes where the template names none, because then the tools are told in that format."""
    template = template or ""
    bare = "<|python_tag|>" in template or '"parameters": ' in template
    return LLAMA if bare and "<tool_call>" not in template else HERMES


def reader_of(name: str) -> Reader:
    """A reader of that format, for one answer."""
    return BareReader() if name == LLAMA else MarkedReader()
