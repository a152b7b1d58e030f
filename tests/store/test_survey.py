"""The survey of kept prefixes over device, RAM and disk: against machines whose content is known."""

from pathlib import Path
from typing import Any

import pytest
from tests.store.tiered import LAYOUTS, SIZE, Machine

from windowtax.engine.lower import LowerTiers
from windowtax.engine.survey import Surveyor, survey, tier_sums, tiers_of
from windowtax.engine.tiering import TieredCache
from windowtax.store.disk.index import Entry
from windowtax.store.disk.record import ROOT

STEM = list(range(100, 140))
PROMPTS = [[*STEM, *range(1, 25)], [*STEM, *range(50, 62)], list(range(900, 920))]
BLOCKS = (40 + 24 + 12 + 20) // SIZE


def words(token_ids: Any) -> str:
    return " ".join(map(str, token_ids))


def listed(machine: Machine, salt: str = "") -> list[dict[str, Any]]:
    found, following = survey(machine.cache).page(salt, 0, 1000, words)
    assert following is None
    return found


def test_each_run_is_told_once_with_its_tiers(tmp_path: Path) -> None:
    machine = Machine(tmp_path, host_bytes=1 << 20)
    for prompt in PROMPTS:
        machine.run(prompt)
    found = listed(machine)
    runs = sorted((one["first_token"], one["tokens"]) for one in found)
    assert runs == [(0, 20), (0, 40), (40, 12), (40, 24)], "as `windowtax cache ls` has them"
    assert all(one["tiers"] == dict.fromkeys(("device", "host", "disk"), one["blocks"]) for one in found)
    names = {one["prefix"]: one for one in found}
    ends = [one for one in found if one["first_token"]]
    assert {names[one["continues"]]["tokens"] for one in ends} == {40}
    assert found[0]["words"].startswith("900 901"), "the prompt that was used last stands first"
    sums = tier_sums(machine.cache)
    assert sums["device"]["blocks"] == sums["host"]["blocks"] == sums["disk"]["blocks"] == BLOCKS
    machine.close()


def test_after_a_restart_all_lies_on_the_disk_and_what_is_read_lies_on_three_tiers(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    for prompt in PROMPTS:
        first.run(prompt)
    first.close()
    machine = Machine(tmp_path, host_bytes=1 << 20)
    assert {(one["tiers"]["device"], one["tiers"]["host"]) for one in listed(machine)} == {(0, 0)}
    assert sum(one["tiers"]["disk"] for one in listed(machine)) == BLOCKS
    machine.run(PROMPTS[1])
    found = {(one["first_token"], one["tokens"]): one["tiers"] for one in listed(machine)}
    assert found[0, 40] == {"device": 10, "host": 10, "disk": 10}
    assert found[40, 12] == {"device": 3, "host": 2, "disk": 3}, "the last block is computed: its logits are not kept"
    assert found[40, 24] == {"device": 0, "host": 0, "disk": 6}
    key = machine.cache.keys_of(PROMPTS[1], "")[0]
    assert tiers_of(machine.cache, key) == ["device", "host", "disk"]
    machine.close()


def test_a_begun_block_is_counted_by_its_tokens_and_lies_on_the_device_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.run(list(range(10)))
    machine.run([7, 8])
    found = {one["first_token"] + one["tokens"]: one["tiers"] for one in listed(machine)}
    assert found == {10: {"device": 3, "host": 0, "disk": 2}, 2: {"device": 1, "host": 0, "disk": 0}}
    machine.close()


def test_every_tenant_sees_its_own_also_of_what_lies_on_the_disk_alone(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPTS[0], salt="one")
    first.run(PROMPTS[2], salt="other")
    first.close()
    machine = Machine(tmp_path)
    assert [one["words"].split()[0] for one in listed(machine, "one")] == ["100"]
    assert [one["words"].split()[0] for one in listed(machine, "other")] == ["900"]
    assert listed(machine) == []
    machine.close()


def test_pages_come_one_after_the_other(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for number in range(30):
        machine.run(list(range(1000 * number, 1000 * number + 9)), salt="mine" if number % 3 else "other")
    made = survey(machine.cache)
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page, after = made.page("mine", after, 7, words)
        assert len(page) <= 7
        seen += [one["prefix"] for one in page]
    assert len(seen) == len(set(seen)) == 20
    machine.close()


class _Crowd(LowerTiers):
    """Lower tiers with many blocks on the disk, made up: chains of a thousand blocks."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def snapshot(self) -> tuple[list[Any], list[Entry]]:
        names = [number.to_bytes(16, "big") for number in range(1, self._count + 1)]
        return [], [
            Entry(name, names[place - 1] if place % 1000 else ROOT, b"", 0, 0, 0, 0, place % 1000, SIZE, 1, 0.0, 0.0)
            for place, name in enumerate(names)
        ]


def test_a_large_index_is_surveyed_in_small_pieces_and_not_over_and_over() -> None:
    """Between two pauses no more than a thousand blocks are read, so no other thread waits long for the interpreter."""
    cache = TieredCache(LAYOUTS["full"], [10], _Crowd(100_000))
    pauses: list[float] = []
    made = survey(cache, pauses.append)
    assert len(made.runs) == 100 and {(one.num_blocks, tuple(one.tiers)) for one in made.runs} == {(1000, (0, 0, 1000))}
    assert len(pauses) >= 2 * 100_000 // 1000
    surveyor = Surveyor()
    first = surveyor.survey(cache)
    assert surveyor.survey(cache) is first, "it took so long that the next one has to wait"
    first.made_s -= first.took_s * 21
    assert surveyor.survey(cache) is not first
    cache.close()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_survey_agrees_with_the_index(layout: Any, tmp_path: Path) -> None:
    machine = Machine(tmp_path, layout, blocks=12, host_bytes=4096)
    for number in range(12):
        machine.run([*STEM[: 4 * (number % 5)], *range(1000 * number, 1000 * number + 9)])
    found = listed(machine)
    assert sum(one["tiers"]["device"] for one in found) == len(machine.cache.index)
    assert sum(one["tiers"]["disk"] for one in found) == tier_sums(machine.cache)["disk"]["blocks"]
    machine.close()
