"""guidellm, lm-eval and schemathesis against a running server of SmolLM2-135M; what they found goes into the README."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from benchmarks.kit.page import put

from tools.conformance import fuzz, load, scores
from tools.conformance.outcome import Outcome
from tools.conformance.venvs import PINS, bin_of
from windowtax.base.folders import cache_folder

README = Path(__file__).with_name("README.md")
TOOLS: Mapping[str, Callable[[Path, Path], Outcome]] = {
    "schemathesis": fuzz.run,
    "lm-eval": scores.run,
    "guidellm": load.run,
}


def main() -> None:
    """Exit code 1 where a tool found a fault, or did not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TOOLS, action="append", help="one of the tools; may be repeated")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "conformance", help="venvs, logs, reports")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    outcomes = [_run(tool, asked.folder) for tool in asked.only or TOOLS]
    if not asked.only:
        put(README, "\n\n".join([f"Run on {date.today()}.", *(_table(one) for one in outcomes)]))
    faults = [f"{one.tool}: {fault}" for one in outcomes for fault in one.faults]
    print("\n".join(faults) or "All is as it should be.")
    sys.exit(bool(faults))


def _run(tool: str, folder: Path) -> Outcome:
    programs = bin_of(folder, tool)
    began = time.monotonic()
    print(f"== {tool}", flush=True)
    try:
        outcome = TOOLS[tool](folder, programs)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        outcome = Outcome(tool=tool, rows=(), faults=[str(error)])
    width = max((len(what) for what, _ in outcome.rows), default=0)
    for what, value in outcome.rows:
        print(f"   {what:{width}}  {value}")
    print(f"   {time.monotonic() - began:.0f} s")
    return outcome


def _table(one: Outcome) -> str:
    rows = [*one.rows, *(("**fault**", fault) for fault in one.faults)]
    lines = [f"| {' '.join(PINS[one.tool])} | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
