"""The tools, each in a venv of its own: none of them is a dependency of windowtax."""

import shutil
import subprocess
import sys
from pathlib import Path

PINS = {
    "schemathesis": ("schemathesis==4.32.5",),
    "lm-eval": ("lm_eval[api]==0.4.13",),
    # torch serves its tokenizers alone; the pin is the release whose CPU build needs no CUDA.
    "guidellm": ("guidellm==0.8.1", "torch==2.13.0"),
}


def bin_of(folder: Path, tool: str) -> Path:
    """Where the tool's programs are; the venv is made first where it is not there."""
    venv = folder / f"venv-{tool}"
    if not (venv / "installed").exists():
        print(f"installing {' '.join(PINS[tool])} ...", file=sys.stderr)
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [
            str(venv / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, *PINS[tool]], check=True)
        (venv / "installed").touch()
    return venv / "bin"
