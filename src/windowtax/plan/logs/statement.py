"""Figures from pages and slides: "123.05 GB at 128,000 tokens", "131,072 tokens: 40 GiB"."""

import re

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.plan.logs.record import Printed, StatementLog, printed

_SIZE = re.compile(r"([0-9][0-9,]*(?:\.[0-9]+)?)\s*(KiB|MiB|GiB|KB|MB|GB)\b")
_TOKENS = re.compile(r"([0-9][0-9,]*(?:\.[0-9]+)?\s*[KM]?)\s*tokens\b")


def read_statement(text: str) -> StatementLog | None:
    """Every line that names one size and one number of tokens. None where there is no such line."""
    figures: list[tuple[Printed, int]] = []
    for line in text.splitlines():
        sizes, tokens = _SIZE.findall(line), _TOKENS.findall(line)
        if len(sizes) == 1 and len(tokens) == 1:
            try:
                figures.append((printed(*sizes[0]), parse_tokens(tokens[0])))
            except BadInput:
                continue
    return StatementLog(figures=tuple(figures)) if figures else None
