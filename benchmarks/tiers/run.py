"""How long the first token waits for a prefix, by where that lies; and whether the engine loads it when it should.

What was measured is kept in results.json piece by piece, so a run that was stopped goes on where it stood.
"""

import argparse
from pathlib import Path

from benchmarks.kit.pieces import Kept, run_piece, say
from benchmarks.tiers import report
from benchmarks.tiers.cells import Piece, pieces

from windowtax.base.folders import cache_folder

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def options() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="another file: tables are printed, not written")
    parser.add_argument("--rounds", type=int, default=1, help="of every piece; figures are medians over all")
    parser.add_argument("--only", action="append", help="pieces whose name has this in it; may be repeated")
    parser.add_argument("--prefix", default="", help="put before each piece, such as 'taskset -c 0,1'")
    parser.add_argument("--scratch", type=Path, default=cache_folder(), help="a folder on the disk that is measured")
    parser.add_argument("--again", action="store_true", help="forget the chosen pieces' earlier results")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the README's tables")
    return parser.parse_args()


def measure(asked: argparse.Namespace, kept: Kept) -> None:
    """Runs the chosen pieces that have not had all their rounds."""
    chosen = [piece for piece in pieces() if not asked.only or any(word in piece.key for word in asked.only)]
    if asked.again:
        kept.forget([piece.key for piece in chosen])
    for number in range(asked.rounds):
        for piece in chosen:
            if len(kept.rounds.get(piece.key, [])) > number:
                continue
            say(f"{piece.key} ...")
            found = run_piece(piece.key, "benchmarks.tiers.piece", _task(piece, asked), asked.prefix.split())
            if found is not None:
                kept.add(piece.key, found)


def _task(piece: Piece, asked: argparse.Namespace) -> dict[str, object]:
    return {
        "model": piece.model.name,
        "rope": piece.rope,
        "tokens": piece.tokens,
        "cache_dtype": piece.cache_dtype,
        "rule": piece.rule,
        "scratch": str(asked.scratch),
    }


def main() -> None:
    """Reads the options, measures, writes the tables."""
    asked = options()
    kept = Kept(asked.results)
    if not asked.report:
        measure(asked, kept)
    text = report.tables(kept.rounds)
    if asked.results == RESULTS:
        report.write(HERE / "README.md", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
