"""schemathesis: requests made from our own description of the API, the wrong ones too."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tools.conformance.outcome import Outcome, run_tool
from tools.conformance.server import serving

MAX_S = 180
SEED = "1"
LEFT_OUT = {
    "negative_data_rejection": 'JSON is read as it is meant: "true" for a flag and 1.0 for a whole number are taken',
    "positive_data_acceptance": "a schema cannot say which token ids, names and sums of tokens a model takes",
}
"""Checks that are not made, and why."""


def run(folder: Path, programs: Path) -> Outcome:
    """Fuzzes every endpoint of a server with a small window, so that no case waits for a long answer."""
    place = folder / "schemathesis"
    place.mkdir(parents=True, exist_ok=True)
    log, report = place / "schemathesis.log", place / "report.json"
    report.unlink(missing_ok=True)
    with serving(place / "server.log", "--max-model-len", "256", "--kv-cache-memory-bytes", "128MiB") as url:
        run_tool(
            log, place, str(programs / "schemathesis"), "run", f"{url}/openapi.json", "--max-time", str(MAX_S),
            "--phases", "examples,coverage,fuzzing", "--seed", SEED, "--workers", "2", "--request-timeout", "60",
            "--continue-on-failure", "--exclude-checks", ",".join(LEFT_OUT), "--report", "json",
            "--report-json-path", str(report),
            SCHEMATHESIS_HOOKS="tools.conformance.hooks", PYTHONPATH=str(Path(__file__).parents[2]),
        )  # fmt: skip
    if not report.exists():
        return Outcome(tool="schemathesis", rows=(), faults=[f"schemathesis did not run: see {log}"])
    return _outcome(json.loads(report.read_text("utf-8")))


def _outcome(found: dict[str, Any]) -> Outcome:
    cases, operations = found["test_cases"], found["operations"]
    answers = Counter[str]()
    for phases in found["valid_rates"].values():
        for counts in phases.values():
            answers.update(counts)
    failures = [f"{one['title']}: {one['count']}" for one in found["failures"]]
    # Hypothesis' own complaint, where the time is over in the middle of a case.
    errors = [f"{one['title']}: {one['count']}" for one in found["errors"] if one["title"] != "Runtime Error"]
    rows = [
        ("operations", f"{operations['tested']} of {operations['total']}"),
        ("requests", f"{cases['generated']:,}, with {cases['with_failures']:,} failures"),
        ("valid requests that were answered, refused", f"{answers['accepted']:,}, {answers['rejected']:,}"),
        ("checks left out", "; ".join(f"{name}: {why}" for name, why in LEFT_OUT.items())),
    ]
    return Outcome(tool="schemathesis", rows=rows, faults=[*failures, *errors])
