"""Single kernels beside what the machine does: decode attention, products of many rows, prefill attention."""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.kernels import report
from benchmarks.kernels.figures import Sizes, measure
from benchmarks.kit.page import put
from benchmarks.kit.pieces import on_idle_machine

from windowtax.base.errors import BadInput
from windowtax.engine.gauge import cpu_name
from windowtax.ops.native import native_state, num_threads

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def run(sizes: Sizes) -> dict[str, Any]:
    """Measures everything. Raises BadInput without native kernels."""
    state, threads = native_state(), num_threads()
    if state.module is None:
        raise BadInput(f"There are no native kernels to be measured: {state.why_not}.")
    found = on_idle_machine()
    figures = measure(state, threads, sizes)
    return found | {"cpu": cpu_name(), "threads": threads, "level": state.level, "figures": figures}


def main() -> None:
    """Reads the options, measures, writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="another file: tables are printed, not written")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the README's tables")
    asked = parser.parse_args()
    if not asked.report:
        try:
            found = run(Sizes())
        except BadInput as error:
            parser.error(str(error))
        asked.results.write_text(json.dumps(found, indent=1) + "\n")
    if not asked.results.exists():
        parser.error(f"{asked.results} is not there; without --report it is measured and written")
    text = report.tables(json.loads(asked.results.read_text()))
    if asked.results == RESULTS:
        put(HERE / "README.md", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
