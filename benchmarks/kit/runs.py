"""The command line of a benchmark in pieces: which are measured, how often, and where the tables go."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

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
