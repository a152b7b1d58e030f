"""`windowtax cache` on a folder that a machine with tiers wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.store.tiered import SIZE, Machine
from typer.testing import CliRunner, Result

from windowtax.base.errors import BadInput, DoesNotFit, UnknownName
from windowtax.base.units import parse_bytes
from windowtax.cli import cache
from windowtax.engine.tier_options import TierOptions

STEM = list(range(100, 140))
PROMPTS = [[*STEM, *range(1, 26)], [*STEM, *range(50, 62)], list(range(900, 921))]

Cache = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    machine = Machine(tmp_path / "kept")
    for prompt in PROMPTS:
        machine.run(prompt)
    machine.run(PROMPTS[0])
    assert machine.disk is not None
    machine.disk.folder.set_form(machine.disk.fingerprint, {"model": "llama-3.2-1b", "cache_dtype": "int8"})
    machine.close()
    return tmp_path / "kept"


@pytest.fixture
def run(folder: Path) -> Cache:
    def invoke(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cache.app, [*words, "--folder", str(folder)])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return invoke


def listed(run: Cache) -> dict[str, Any]:
    return json.loads(run("ls", "--json", "--hardware", "h100-sxm").stdout)


def runs(run: Cache) -> list[tuple[int, int, int]]:
    """Level, first token and tokens of every run."""
    return sorted((row["level"], row["first_token"], row["tokens"]) for row in listed(run)["runs"])


def test_ls_shows_each_beginning_once_and_its_ends_below(run: Cache) -> None:
    assert runs(run) == [(0, 0, 20), (0, 0, 40), (1, 40, 12), (1, 40, 24)]
    found = listed(run)
    stem = next(row for row in found["runs"] if row["tokens"] == 40)
    assert stem["words"].startswith("100 101 102") and stem["model"] == "llama-3.2-1b"
    assert stem["hits"] == 2 and stem["blocks"] == 40 // SIZE
    assert sum(row["bytes"] for row in found["runs"]) == found["bytes"]
    assert stem["recompute_s"] > 0 and stem["recompute_usd"] > 0
    # Rent of the catalog: 0.00010959 USD per GB and hour, 730 hours.
    assert stem["hold_usd_per_month"] == pytest.approx(stem["bytes"] / 1e9 * 0.00010959 * 730)
    ends = [row for row in found["runs"] if row["level"] == 1]
    assert {row["continues"] for row in ends} == {stem["name"]}


def test_ls_in_words_names_everything_and_wraps_nothing_away(run: Cache) -> None:
    text = run("ls", "--hardware", "h100-sxm").stdout
    for row in listed(run)["runs"]:
        assert row["name"][:8] in text
    assert "40+24" in text and "100 101 102" in text and "(assumed)" in text


def test_show_tells_the_whole_prefix(run: Cache) -> None:
    end = next(row for row in listed(run)["runs"] if row["tokens"] == 24)
    found = json.loads(run("show", end["name"][:10], "--json", "--hardware", "h100-sxm").stdout)
    assert found["prefix"]["tokens"] == 64 and [row["tokens"] for row in found["runs"]] == [40, 24]
    assert found["prefix"]["recompute_s"] == pytest.approx(sum(row["recompute_s"] for row in found["runs"]))
    assert "tokens 40 to 63" in run("show", end["name"], "--hardware", "h100-sxm").stdout
    assert isinstance(CliRunner().invoke(cache.app, ["show", "zz"]).exception, (UnknownName, BadInput))


def test_verify_finds_a_flipped_byte_and_takes_the_block_out(run: Cache, folder: Path) -> None:
    assert json.loads(run("verify", "--json").stdout)["damaged"] == []
    path = max((folder / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)
    found = json.loads(run("verify", "--json", code=1).stdout)
    assert len(found["damaged"]) == 1 and found["removed"]
    assert json.loads(run("verify", "--json").stdout)["damaged"] == []


def test_verify_only_tells_while_a_server_has_the_folder(run: Cache, folder: Path) -> None:
    server = Machine(folder)
    path = max((folder / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)
    found = json.loads(run("verify", "--json", code=1).stdout)
    assert len(found["damaged"]) == 1 and not found["removed"]
    assert isinstance(run("gc", code=1).exception, BadInput)
    server.close()


def test_pinned_prefixes_survive_gc_and_a_budget_that_is_too_small_says_so(run: Cache) -> None:
    stem = next(row for row in listed(run)["runs"] if row["tokens"] == 40)
    run("pin", stem["name"])
    small = str(stem["bytes"] + 10)
    assert "given back" in run("gc", "--to", small).stdout
    assert runs(run) == [(0, 0, 40)]
    assert isinstance(run("gc", "--to", str(stem["bytes"] - 10), code=1).exception, DoesNotFit)
    run("pin", stem["name"], "--off")
    run("gc", "--to", str(stem["bytes"] - 10))
    assert runs(run) == [(0, 0, 36)]


def test_unpinning_one_prefix_leaves_what_it_shares_with_another_pinned_one(run: Cache) -> None:
    ends = [row for row in listed(run)["runs"] if row["level"] == 1]
    for end in ends:
        run("pin", end["name"])
    run("pin", ends[0]["name"], "--off")
    pinned = {row["name"]: row["pinned"] for row in listed(run)["runs"]}
    assert not pinned[ends[0]["name"]] and pinned[ends[1]["name"]] and pinned[ends[0]["continues"]]


def test_clear_takes_a_prefix_and_what_continues_it_or_all(run: Cache) -> None:
    stem = next(row for row in listed(run)["runs"] if row["tokens"] == 40)
    run("clear", stem["name"])
    assert runs(run) == [(0, 0, 20)]
    assert isinstance(run("clear", code=1).exception, BadInput), "not without --yes"
    run("clear", "--yes")
    assert runs(run) == []


def test_an_exported_prefix_serves_another_machine(run: Cache, folder: Path, tmp_path: Path) -> None:
    end = next(row for row in listed(run)["runs"] if row["tokens"] == 24)
    run("export", str(tmp_path / "taken"), "--prefix", end["name"])
    other = Machine(tmp_path / "taken")
    assert other.run(PROMPTS[0])["disk"] == 64 and sum(other.run(PROMPTS[2]).values()) == 0
    other.close()
    run("clear", "--yes")
    run("import", str(tmp_path / "taken"))
    back = Machine(folder)
    assert back.run(PROMPTS[0])["disk"] == 64
    back.close()


def test_a_damaged_record_is_not_exported(run: Cache, folder: Path, tmp_path: Path) -> None:
    path = max((folder / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)
    found = json.loads(run("export", str(tmp_path / "taken"), "--json").stdout)
    assert found["damaged"] == 1
    (tmp_path / "taken" / "index").unlink()
    result = CliRunner().invoke(cache.app, ["verify", "--folder", str(tmp_path / "taken")])
    assert result.exit_code == 0


def test_gc_takes_out_blocks_that_lost_their_beginning(run: Cache, folder: Path) -> None:
    path = min((folder / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[10] ^= 4  # the head of the first record
    path.write_bytes(data)
    (folder / "index").unlink()
    found = listed(run)
    assert found["unreachable_records"] > 0
    run("gc")
    assert listed(run)["unreachable_records"] == 0 and listed(run)["bytes"] < found["bytes"]


def test_a_folder_without_prefixes_is_an_answer(tmp_path: Path) -> None:
    result = CliRunner().invoke(cache.app, ["ls", "--folder", str(tmp_path)])
    assert isinstance(result.exception, BadInput) and not list(tmp_path.iterdir())


def test_tiers_are_read_as_they_are_typed(tmp_path: Path) -> None:
    assert TierOptions.parse(None, None) == TierOptions()
    assert TierOptions.parse("0", None).ram_bytes == 0
    assert TierOptions.parse("8GiB", f"{tmp_path}:200GB") == TierOptions(
        ram_bytes=8 << 30, ssd=tmp_path, ssd_bytes=parse_bytes("200GB")
    )
    half = TierOptions.parse(None, str(tmp_path / "new"))
    assert half.ssd == tmp_path / "new" and half.ssd_bytes > 16 << 20
    for wrong in (":20GB", f"{tmp_path}:lots", f"{tmp_path}:1MiB"):
        with pytest.raises(BadInput):
            TierOptions.parse(None, wrong)
