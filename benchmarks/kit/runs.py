"""The command line of a benchmark in pieces: which are measured, how often, and where the tables go."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.kit.page import put
from benchmarks.kit.pieces import Kept, run_piece, say

from windowtax.base.folders import cache_folder

Task = Callable[[int], Mapping[str, object]]
"""What the process of a piece is told, by the number of the round."""


def parser_of(description: str | None, folder: Path) -> argparse.ArgumentParser:
    """The words that all of them know. folder: of the benchmark."""
    parser = argparse.ArgumentParser(description=description)
    results = folder / "results.json"
    parser.add_argument("--results", type=Path, default=results, help="another file: tables are printed, not written")
    parser.add_argument("--rounds", type=int, default=1, help="of every piece; figures are medians over all")
    parser.add_argument("--prefix", default="", help="put before each piece, such as 'taskset -c 0,1'")
    parser.add_argument("--scratch", type=Path, default=cache_folder(), help="a folder on the disk that is measured")
    parser.add_argument("--again", action="store_true", help="forget the chosen pieces' earlier results")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the README's tables")
    return parser


def measure(asked: argparse.Namespace, kept: Kept, module: str, tasks: Mapping[str, Task]) -> None:
    """Runs the pieces, by key, that have not had all their rounds."""
    if asked.again:
        kept.forget(list(tasks))
    for number in range(asked.rounds):
        for key, task in tasks.items():
            if len(kept.rounds.get(key, [])) > number:
                continue
            say(f"{key} ...")
            found = run_piece(key, module, task(number), asked.prefix.split())
            if found is not None:
                kept.add(key, found)


def publish(asked: argparse.Namespace, folder: Path, text: str) -> None:
    """Puts the tables into the benchmark's README, or prints those of other results."""
    if asked.results == folder / "results.json":
        put(folder / "README.md", text)
    else:
        print(text)


class Keyed(Protocol):
    """A piece: `key` is its name in results.json, on the command line and in the tables."""

    @property
    def key(self) -> str: ...


P = TypeVar("P", bound=Keyed)


def main_of(
    description: str | None,
    folder: Path,
    pieces: Sequence[P],
    task: Callable[[P, argparse.Namespace], Mapping[str, object]],
    tables: Callable[[dict[str, list[dict[str, Any]]]], str],
) -> None:
    """All of a benchmark whose pieces are chosen by their names: reads the options, measures, writes the tables.

    task: what the process of a piece, `benchmarks.<folder>.piece`, is told.
    """
    parser = parser_of(description, folder)
    parser.add_argument("--only", action="append", help="pieces whose name has this in it; may be repeated")
    asked = parser.parse_args()
    chosen = [piece for piece in pieces if not asked.only or any(word in piece.key for word in asked.only)]
    if not chosen:
        parser.error(
            f"no piece has {' or '.join(asked.only)} in its name; there are: {'; '.join(p.key for p in pieces)}"
        )
    kept = Kept(asked.results)
    if not asked.report:
        tasks: dict[str, Task] = {piece.key: lambda _, one=piece: task(one, asked) for piece in chosen}
        measure(asked, kept, f"benchmarks.{folder.name}.piece", tasks)
    publish(asked, folder, tables(kept.rounds))
