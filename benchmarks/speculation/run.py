"""How much sooner answers come with guesses (`--speculate ngram`), by how much of them is copied from the window.

What was measured is kept in results.json piece by piece, so a run that was stopped goes on where it stood.
"""

import argparse
from functools import partial
from pathlib import Path

from benchmarks.kit.pieces import Kept
from benchmarks.kit.runs import Task, measure, parser_of, publish
from benchmarks.speculation import report
from benchmarks.speculation.cells import Piece, pieces

HERE = Path(__file__).parent


def tasks(asked: argparse.Namespace) -> dict[str, Task]:
    """What the chosen pieces are told."""
    chosen = [piece for piece in pieces() if not asked.only or any(word in piece.key for word in asked.only)]
    return {piece.key: partial(_task, piece) for piece in chosen}


def _task(piece: Piece, _number: int) -> dict[str, object]:
    return {"model": piece.model.name, "window": piece.window_tokens, "cache_dtype": piece.cache_dtype}


def main() -> None:
    """Reads the options, measures, writes the tables."""
    parser = parser_of(__doc__, HERE)
    parser.add_argument("--only", action="append", help="pieces whose name has this in it; may be repeated")
    asked = parser.parse_args()
    kept = Kept(asked.results)
    if not asked.report:
        measure(asked, kept, "benchmarks.speculation.piece", tasks(asked))
    publish(asked, HERE, report.tables(kept.rounds))


if __name__ == "__main__":
    main()
