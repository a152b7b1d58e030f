"""One wheel, fetched by the machine's own pip from whichever index it is set up for; nothing in it is executed."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from windowtax.base.errors import FetchFailed
from windowtax.hub.child import OnBytes, run_watched

DownloadWheel = Callable[[str, str, Path, OnBytes], Path]
"""(package, version, empty folder to work in, called with the bytes that are here so far) -> the wheel's path."""


def download_wheel(package: str, version: str, into: Path, on_bytes: OnBytes) -> Path:
    """The wheel of exactly that version, somewhere below the folder `into`. Raises FetchFailed."""
    incoming, finished = into / "incoming", into / "finished"
    incoming.mkdir(parents=True)
    # pip writes to the temporary folder first: here it lies on the disk that was checked for space, and can be counted.
    env = {**os.environ, "TMPDIR": str(incoming), "TEMP": str(incoming), "TMP": str(incoming)}
    run_watched(
        [*pip_command(), "download", *_OPTIONS, "--dest", str(finished), f"{package}=={version}"],
        incoming,
        on_bytes,
        env=env,
    )
    wheels = list(finished.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchFailed(f"pip fetched {len(wheels)} wheels for {package} {version} where one was expected.")
    return wheels[0]


# Only wheels: building from a source archive would execute code of the package.
_OPTIONS = (
    "--no-deps",
    "--no-binary=:none:",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--progress-bar=off",
    "--disable-pip-version-check",
    "--no-input",
)


def pip_command() -> list[str]:
    """How to call pip here: this interpreter's, one on the PATH, or uv's on-demand one. Raises FetchFailed."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found is not None:
            return [found]
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "tool", "run", "pip"]
    raise FetchFailed(
        "There is no pip here to fetch the wheels with: not in this Python, not on the PATH, and no uv either.",
        f"Give this Python one with: {sys.executable} -m ensurepip",
    )
