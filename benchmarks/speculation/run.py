"""How much sooner answers come with guesses (`--speculate ngram`), by how much of them is copied from the window.

What was measured is kept in results.json piece by piece, so a run that was stopped goes on where it stood.
"""

import argparse
from pathlib import Path

from benchmarks.kit.runs import main_of
from benchmarks.speculation import report
from benchmarks.speculation.cells import Piece, pieces


def task(piece: Piece, _asked: argparse.Namespace) -> dict[str, object]:
    """What a piece is told."""
    return {"model": piece.model.name, "window": piece.window_tokens, "cache_dtype": piece.cache_dtype}


if __name__ == "__main__":
    main_of(__doc__, Path(__file__).parent, pieces(), task, report.tables)
