"""Consoles: reports go to standard output, what happens meanwhile to standard error."""

import io
import re
import sys

from rich.console import Console

PIPED_WIDTH = 100
"""Columns where no terminal says how many there are: tables then look alike in a file, a pipe and a log."""


def console() -> Console:
    """Where text goes: as wide as the terminal, or PIPED_WIDTH where there is none, so that nothing wraps in a file."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(file=_Trimmed(), width=PIPED_WIDTH, highlight=False)


def messages() -> Console:
    """For progress and remarks, on standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


class _Trimmed(io.StringIO):
    """Passes text on to stdout without the blanks that tables put at the ends of lines."""

    def write(self, text: str, /) -> int:
        return sys.stdout.write(re.sub(r" +(?=\n)", "", text))
