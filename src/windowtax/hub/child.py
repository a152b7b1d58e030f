"""Runs a client (pip, the hub's) as a child process: counts its bytes, and never lets it outlive or hang the parent."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from windowtax.base.errors import FetchFailed

OnBytes = Callable[[int], None]
STALL_S = 300.0
_POLL_S = 0.2
_TAIL_CHARS = 1500


def run_watched(
    command: Sequence[str],
    watch: Path,
    on_bytes: OnBytes,
    *,
    env: Mapping[str, str] | None = None,
    stall_s: float = STALL_S,
) -> None:
    """Runs `command` to its end and reports the bytes under the folder `watch` as they grow.

    Raises FetchFailed with the end of the child's output if it fails, cannot start, or if `watch` does not change for
    `stall_s` seconds. The child is ended when this function is left in any way (an interrupt too).
    """
    with tempfile.TemporaryFile() as log:
        try:
            child = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env
            )
        except OSError as error:
            raise FetchFailed(f"{command[0]} could not be started: {error}.") from error
        try:
            _watch(child, watch, on_bytes, stall_s)
        finally:
            _end(child)
        if child.returncode != 0:
            raise FetchFailed(f"{_shown(command)} ended with code {child.returncode}:\n{_tail(log)}")


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`; files that vanish meanwhile count as nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total


def _watch(child: "subprocess.Popen[bytes]", watch: Path, on_bytes: OnBytes, stall_s: float) -> None:
    last_bytes, last_change = -1, time.monotonic()
    while True:
        try:
            child.wait(_POLL_S)
            return
        except subprocess.TimeoutExpired:
            now_bytes = folder_bytes(watch)
        if now_bytes != last_bytes:
            last_bytes, last_change = now_bytes, time.monotonic()
            on_bytes(now_bytes)
        elif time.monotonic() - last_change > stall_s:
            raise FetchFailed(f"Nothing arrived for {stall_s:g} s.", "Check the network, then pull again.")


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _shown(command: Sequence[str]) -> str:
    return " ".join(word if len(word) < 100 else "..." for word in command)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode("utf-8", "replace").strip()[-_TAIL_CHARS:] or "(it said nothing)"
