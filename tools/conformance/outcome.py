"""What a tool found: rows for the page, and what went wrong."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BOUND_S = 420
"""The longest that one tool may run."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """rows: what was done, and what came of it. faults: empty where all is as it should be."""

    tool: str
    rows: Sequence[tuple[str, str]]
    faults: Sequence[str] = field(default_factory=tuple[str, ...])


def run_tool(log: Path, folder: Path, *command: str, **environment: str) -> int:
    """A tool's exit code. It runs in `folder`, offline, with its words in `log`. Raises TimeoutExpired."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "NO_COLOR": "1"}
    variables = os.environ | offline | environment
    with log.open("wb") as words:
        return subprocess.run(
            command, cwd=folder, stdout=words, stderr=words, env=variables, timeout=BOUND_S, check=False
        ).returncode
