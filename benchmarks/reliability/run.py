"""Is the server reliable? Every part ends by itself; what was measured is kept part by part in results.json."""

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability import report
from benchmarks.reliability.parts import PARTS, run_part
from rich.console import Console
from rich.progress import Progress

from windowtax.engine.gauge import this_machine

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
QUICK = 0.1


def measure(name: str, scale: float) -> dict[str, Any]:
    """Runs a part behind a progress bar."""
    began = time.monotonic()
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=max(1, int(PARTS[name][1] * scale)))
        found = run_part(name, scale, lambda done: progress.update(task, completed=done))
    head = {"date": datetime.date.today().isoformat(), "machine": this_machine().title, "scale": scale}
    return head | {"part_s": time.monotonic() - began} | found


def main() -> None:
    """Reads the options, measures, writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="only these; all that are missing if none")
    parser.add_argument("--quick", action="store_true", help="a tenth of each, and only shown")
    parser.add_argument("--again", action="store_true", help="also those that were measured before")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the README's tables")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.quick else {}
    for name in [] if options.report else options.parts or PARTS:
        if options.again or options.parts or name not in results:
            results[name] = measure(name, QUICK if options.quick else 1.0)
            if not options.quick:
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if options.quick:
        print(report.tables(results))
    else:
        report.write(HERE / "README.md", results)
    raise SystemExit(1 if report.faults(results) else 0)


if __name__ == "__main__":
    main()
