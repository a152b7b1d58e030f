"""Which format a trace is in, and reading it."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from windowtax.base.errors import BadInput, UnknownName
from windowtax.plan.replay.mooncake import MOONCAKE_BLOCK_TOKENS, read_mooncake
from windowtax.plan.replay.openai_log import LOG_BLOCK_TOKENS, read_openai_log
from windowtax.plan.replay.trace import Trace, read_lines

AUTO = "auto"
FORMATS: dict[str, tuple[Callable[[Path, int], Trace], int]] = {
    "mooncake": (read_mooncake, MOONCAKE_BLOCK_TOKENS),
    "openai-log": (read_openai_log, LOG_BLOCK_TOKENS),
}
"""Readers, and the tokens per block that each takes unless told otherwise."""


def read_trace(path: Path, format_name: str = AUTO, block_tokens: int | None = None) -> Trace:
    """Reads a trace; AUTO looks at the first line. Raises BadInput naming line and field, UnknownName for a format."""
    if format_name == AUTO:
        format_name = _detect(path)
    if format_name not in FORMATS:
        raise UnknownName(
            f"There is no trace format called {format_name!r}.", f"There are: {', '.join((AUTO, *FORMATS))}."
        )
    if block_tokens is not None and block_tokens < 1:
        raise BadInput(f"Blocks of {block_tokens} tokens make no sense.")
    read, usual = FORMATS[format_name]
    return read(path, block_tokens or usual)


def _detect(path: Path) -> str:
    for line in islice(read_lines(path), 1):
        if "input_length" in line or "hash_ids" in line:
            return "mooncake"
        if "usage" in line or "response" in line:
            return "openai-log"
        raise BadInput(
            f"{path.name}, line {line.number}: neither a Mooncake trace (timestamp, input_length, output_length, "
            "hash_ids) nor a log of OpenAI-style calls (messages, usage).",
            "docs/replay.md shows both formats; --format says which one to expect.",
        )
    raise BadInput(f"{path.name} holds no requests.")
