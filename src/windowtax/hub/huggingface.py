"""The Hugging Face hub as a place of supply: asked first, given a few seconds to answer, believed only by the hash."""

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from windowtax.base.errors import FetchFailed
from windowtax.hub.catalog import HubFile, ModelSource
from windowtax.hub.child import run_watched
from windowtax.hub.disk import file_sha256, need_space
from windowtax.hub.progress import OnProgress, Progress, Stage

FetchFromHub = Callable[[ModelSource, Path, OnProgress], Path]
"""(model, folder to work in, progress) -> a file there with the pinned hash. Raises FetchFailed with the reason."""

PROBE_S = 5.0
_STALL_S = 60.0
# A child process, because a download inside this one could neither be counted nor be given up.
_DOWNLOAD = (
    "import sys; from huggingface_hub import hf_hub_download; repo, file, revision, folder, endpoint = sys.argv[1:]; "
    "hf_hub_download(repo, file, revision=revision, local_dir=folder, endpoint=endpoint or None)"
)


def fetch_from_hub(
    source: ModelSource,
    work: Path,
    progress: OnProgress,
    *,
    endpoint: str = "",
    probe_s: float = PROBE_S,
) -> Path:
    """The model's file from the hub, in the folder `work`, its hash checked.

    Raises FetchFailed: offline by the user's wish (HF_HUB_OFFLINE), client not installed, no answer within `probe_s`
    seconds, refused, broken off, or another hash than the pinned one. An interrupted download goes on next time.
    """
    if source.hub is None:
        raise FetchFailed("The model has no place on the hub.")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise FetchFailed("HF_HUB_OFFLINE is set.")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise FetchFailed("The client huggingface_hub is not installed.")
    label = source.hub.repo
    progress(Progress(Stage.HUB, f"asking {label}", 0, source.size_bytes))
    _refuse_other(source, *_probe(source.hub, endpoint, probe_s))
    work.mkdir(parents=True, exist_ok=True)
    need_space(work, source.size_bytes)
    run_watched(
        [sys.executable, "-c", _DOWNLOAD, source.hub.repo, source.hub.file, source.hub.revision, str(work), endpoint],
        work,
        lambda n: progress(Progress(Stage.HUB, label, min(n, source.size_bytes), source.size_bytes)),
        stall_s=_STALL_S,
    )
    path = work / source.hub.file
    progress(Progress(Stage.CHECK, f"SHA-256 of {source.file}", source.size_bytes, source.size_bytes))
    _refuse_other(source, path.stat().st_size, file_sha256(path))
    return path


def _probe(hub: HubFile, endpoint: str, probe_s: float) -> tuple[int | None, str | None]:
    """(size, SHA-256) the hub announces for the file; the hash is None where it announces something else."""
    answer: list[tuple[int | None, str | None]] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            answer.append(_announced(hub, endpoint, probe_s))
        except Exception as error:  # whatever the client raises, the reason is all that is needed here
            failure.append(error)

    # A name server that does not answer can block for longer than any timeout of the client: hence a thread to leave.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(probe_s)
    if answer:
        return answer[0]
    if failure:
        first_line = (str(failure[0]).strip().splitlines() or [""])[0]
        raise FetchFailed(f"The hub cannot be asked for {hub.repo}: {type(failure[0]).__name__}: {first_line[:200]}")
    raise FetchFailed(f"The hub did not answer within {probe_s:g} s.")


def _announced(hub: HubFile, endpoint: str, timeout_s: float) -> tuple[int | None, str | None]:
    client: Any = importlib.import_module("huggingface_hub")
    url: str = client.hf_hub_url(hub.repo, hub.file, revision=hub.revision, endpoint=endpoint or None)
    facts: Any = client.get_hf_file_metadata(url, timeout=timeout_s)
    etag: str = facts.etag or ""
    return facts.size, etag if len(etag) == 64 else None


def _refuse_other(source: ModelSource, size_bytes: int | None, sha256: str | None) -> None:
    if size_bytes not in (None, source.size_bytes) or sha256 not in (None, source.sha256):
        raise FetchFailed(
            f"The hub's file is another one: {size_bytes or 0:,} bytes, SHA-256 {sha256 or 'unknown'}; pinned are "
            f"{source.size_bytes:,} bytes, {source.sha256}."
        )
