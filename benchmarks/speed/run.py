"""windowtax beside transformers, vLLM-CPU and llama.cpp: every job a process of its own, in turns, on an idle machine.

What was measured is kept in results.json cell by cell, so a run that was stopped goes on where it stood.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import peers
import report
from cells import GIB, Job, Model, Row, rows

from windowtax.base.folders import cache_folder
from windowtax.engine.load import open_files
from windowtax.hub import fetch
from windowtax.texts.builtin import python_language_reference

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
CHILDREN = {"ours": "ours.py", "llama": "llama.py", "hf": "hf.py", "vllm": "vllm_cpu.py"}
QUICK = ("smol prefill 512", "smol decode 512", "smol prefill 2K", "smol decode 2K", "smol decode 32K k4v4")
TOKENS = 129 * 1024
TIMEOUT_S = 400
"""Of one child; the longest, vLLM with Qwen at 16K and 32K, took 243 s."""


class Bench:
    """Runs jobs and keeps what they measured."""

    def __init__(self, folder: Path, results: Path, prefix: list[str]) -> None:
        self.folder, self.path, self.prefix = folder, results, prefix
        self.results: dict[str, list[dict[str, Any]]] = json.loads(results.read_text()) if results.exists() else {}

    def measure(self, job: Job) -> None:
        """Runs the job once more, and keeps the result; a failure is shown, and the next job goes on."""
        began = time.monotonic()
        python = sys.executable if job.engine == "ours" else str(peers.python_of(self.folder, job.engine))
        task = job.task(self._model(job), self._tokens(job.model))
        command = [python, str(HERE / "children" / CHILDREN[job.engine]), json.dumps(task)]
        found = self._start(job.key, command, job.touch_bytes, neighbour=job.neighbour)
        if found is None:
            return
        self.results.setdefault(job.key, []).append(found)
        self.path.write_text(json.dumps(self.results, indent=1) + "\n")
        print(f"{job.key}: {report.one_line(job, found)} ({time.monotonic() - began:.0f} s)", file=sys.stderr)

    def measure_machine(self) -> None:
        """What floors and predictions are made of: measured in the minutes of the run, and kept for plans too."""
        self._start("floor", [sys.executable, str(HERE / "children" / "floor.py")], GIB, neighbour=False)

    def _start(self, name: str, command: list[str], touch_bytes: int, *, neighbour: bool) -> dict[str, Any] | None:
        order = {"command": command, "touch_bytes": touch_bytes, "neighbour": neighbour, "timeout_s": TIMEOUT_S}
        start = [*self.prefix, sys.executable, str(HERE / "start.py"), json.dumps(order)]
        env = os.environ | {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
        child = subprocess.run(start, capture_output=True, text=True, env=env, check=False)
        if child.returncode:
            print(f"{name}: FAILED\n{child.stderr[-2000:]}", file=sys.stderr)
            return None
        return json.loads(child.stdout.splitlines()[-1].removeprefix("RESULT "))

    def _model(self, job: Job) -> str:
        gguf = fetch.pull(job.model.name)
        if job.engine in ("ours", "llama"):
            return str(gguf)
        return str(peers.export_weights(self.folder, gguf, job.model.name))

    def _tokens(self, model: Model) -> str:
        path = self.folder / f"{model.name}.tokens.json"
        if not path.exists():
            tokenizer = open_files(fetch.pull(model.name)).tokenizer
            assert tokenizer is not None
            ids = tokenizer.encode(python_language_reference())
            path.write_text(json.dumps((ids * (TOKENS // len(ids) + 1))[:TOKENS]))
        return str(path)


def chosen_rows(options: argparse.Namespace) -> list[Row]:
    """The rows that the command line asks for."""
    wanted = [row for row in rows() if not options.quick or row.name in QUICK]
    return [row for row in wanted if not options.only or any(word in row.name for word in options.only)]


def main() -> None:
    """Reads the options, makes the peers, measures, writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers-folder", type=Path, default=cache_folder() / "peers", help="where the peers' venvs are"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="another file: tables are printed, not written")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each job; medians are taken over all")
    parser.add_argument("--quick", action="store_true", help="five cells, in about two minutes")
    parser.add_argument("--only", action="append", help="cells whose name has this in it; may be repeated")
    parser.add_argument("--engine", action="append", choices=CHILDREN, help="only these engines; may be repeated")
    parser.add_argument("--prefix", default="", help="put before each child, such as 'taskset -c 0,1'")
    parser.add_argument("--again", action="store_true", help="forget the chosen cells' earlier results")
    parser.add_argument("--kept-floor", action="store_true", help="do not measure the machine itself anew")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the README's tables")
    options = parser.parse_args()
    chosen = chosen_rows(options)
    if not chosen:
        asked, known = " or ".join(options.only), "; ".join(row.name for row in rows())
        parser.error(f"no cell has {asked} in its name; there are: {known}")
    options.peers_folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.peers_folder, options.results, options.prefix.split())
    if not options.report:
        if options.engine is None or set(options.engine) != {"ours"}:
            peers.make_peers(options.peers_folder)
        if not options.kept_floor:
            bench.measure_machine()
        jobs = {
            job.key: job for row in chosen for job in row.jobs if options.engine is None or job.engine in options.engine
        }
        if options.again:
            bench.results = {key: found for key, found in bench.results.items() if key not in jobs}
        for _ in range(options.rounds):
            for key, job in jobs.items():
                if len(bench.results.get(key, [])) < options.rounds:
                    bench.measure(job)
    if options.results == RESULTS:
        report.write(HERE / "README.md", rows(), bench.results)
    else:
        print(report.tables(rows(), bench.results))


if __name__ == "__main__":
    main()
