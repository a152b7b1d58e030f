"""Prompts of a given length that begin like no other, out of a real text."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from windowtax.engine.load import open_files
from windowtax.hub import fetch
from windowtax.texts.builtin import python_language_reference

PIECE_TOKENS = 32


def write_pieces(path: Path, model: str, tokens: int) -> None:
    """Cuts the text into pieces of PIECE_TOKENS tokens each, where that has not been done."""
    if path.exists():
        return
    tokenizer = open_files(fetch.pull(model)).tokenizer
    assert tokenizer is not None
    ids = tokenizer.encode(python_language_reference())[:tokens]
    whole = range(0, len(ids) - PIECE_TOKENS + 1, PIECE_TOKENS)
    path.write_text(json.dumps([tokenizer.decode(ids[at : at + PIECE_TOKENS]) for at in whole]), encoding="utf-8")


def read_pieces(path: Path) -> list[str]:
    """The pieces."""
    return json.loads(path.read_text(encoding="utf-8"))


def prompt(pieces: Sequence[str], seed: str, tokens: int) -> str:
    """A text of about so many tokens. Another seed gives one that differs from its first words on."""
    draw = random.Random(seed)
    return f"{draw.getrandbits(48):x}. " + "".join(draw.choices(pieces, k=max(1, tokens // PIECE_TOKENS)))
