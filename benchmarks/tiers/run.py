"""How long the first token waits for a prefix, by where that lies; and whether the engine loads it when it should.

What was measured is kept in results.json piece by piece, so a run that was stopped goes on where it stood.
"""

import argparse
from pathlib import Path

from benchmarks.kit.runs import main_of
from benchmarks.tiers import report
from benchmarks.tiers.cells import Piece, pieces


def task(piece: Piece, asked: argparse.Namespace) -> dict[str, object]:
    """What a piece is told."""
    return {
        "model": piece.model.name,
        "rope": piece.rope,
        "tokens": piece.tokens,
        "cache_dtype": piece.cache_dtype,
        "rule": piece.rule,
        "scratch": str(asked.scratch),
    }


if __name__ == "__main__":
    main_of(__doc__, Path(__file__).parent, pieces(), task, report.tables)
