"""The tiers under a cache: what was computed comes back, byte for byte, from RAM and after a restart."""

import random
from pathlib import Path

import pytest
from tests.store.tiered import LAYOUTS, SIZE, Machine

from windowtax.cache.miss import MissReason, explain_miss
from windowtax.cache.tiers import DISK
from windowtax.spec.cache import CacheLayout

PROMPT = [(7 * i) % 1000 for i in range(67)]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_restart_finds_every_whole_block_on_the_disk(tmp_path: Path, layout: CacheLayout) -> None:
    first = Machine(tmp_path, layout)
    assert first.run(PROMPT) == {"device": 0, "host": 0, "disk": 0}
    first.close()
    again = Machine(tmp_path, layout)
    assert again.run(PROMPT) == {"device": 0, "host": 0, "disk": 64}
    assert again.run(PROMPT) == {"device": 66, "host": 0, "disk": 0}, "all but the last token, which must be computed"
    # Where windows were not loaded in the middle, a branch there loads once more; it never computes what is kept.
    assert sum(again.run([*PROMPT[:40], *range(9)]).values()) == 40
    again.close()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_prompt_that_leaves_the_chain_early_loads_what_it_shares(tmp_path: Path, layout: CacheLayout) -> None:
    first = Machine(tmp_path, layout)
    first.run(PROMPT)
    first.close()
    again = Machine(tmp_path, layout)
    assert again.run([*PROMPT[:42], *range(20)])["disk"] == 40
    assert again.run(PROMPT)["disk"] == 24
    again.close()


def test_what_the_device_evicted_comes_back_from_ram(tmp_path: Path) -> None:
    machine = Machine(None, blocks=30, host_bytes=1 << 20)
    machine.run(PROMPT)
    for n in range(4):
        machine.run([10_000 + n, *PROMPT])
    assert machine.run(PROMPT) == {"device": 0, "host": 64, "disk": 0}
    machine.close()


def test_what_ram_has_no_room_for_is_on_the_disk(tmp_path: Path) -> None:
    machine = Machine(tmp_path, blocks=30, host_bytes=3000)
    machine.run(PROMPT)
    for n in range(4):
        machine.run([10_000 + n, *PROMPT])
    by_tier = machine.run(PROMPT)
    assert sum(by_tier.values()) == 64 and by_tier["disk"] > 0
    assert machine.cache.lower.host_bytes <= 3000
    machine.close()


def test_tenants_share_nothing_below_either(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT, salt="one")
    first.close()
    again = Machine(tmp_path)
    assert sum(again.run(PROMPT, salt="other").values()) == 0
    assert again.run(PROMPT, salt="one")["disk"] == 64
    again.close()


def test_other_weights_find_nothing(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT)
    first.close()
    other = Machine(tmp_path, fingerprint=bytes(16))
    assert sum(other.run(PROMPT).values()) == 0
    other.close()


def test_a_flipped_bit_costs_the_blocks_from_there_on_and_is_computed_again(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT)
    first.close()
    (segment,) = (tmp_path / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    record = len(data) // 16
    data[9 * record + record // 2] ^= 1
    segment.write_bytes(data)
    again = Machine(tmp_path)
    assert again.run(PROMPT)["disk"] == 9 * SIZE
    assert again.disk is not None and again.disk.counters.corrupt_records == 1
    again.close()
    healed = Machine(tmp_path)
    assert healed.run(PROMPT)["disk"] == 64
    healed.close()


def test_a_cancelled_sequence_leaves_its_load_behind_without_harm(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT)
    first.close()
    again = Machine(tmp_path)
    assert not again.cache.ready("gone", PROMPT, "")
    again.cache.free("gone")
    again.cache.check()
    again.cache.wait(5.0)
    again.cache.check()
    assert again.run(PROMPT)["device"] == 64
    again.close()


def test_two_that_want_the_same_prefix_load_it_once(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT)
    first.close()
    again = Machine(tmp_path)
    assert not again.cache.ready("a", PROMPT, "")
    assert not again.cache.ready("b", [*PROMPT[:50], 1, 2], "")
    again.cache.wait(5.0)
    assert again.cache.ready("a", PROMPT, "") and again.cache.ready("b", [*PROMPT[:50], 1, 2], "")
    assert again.cache.attach("a", PROMPT, "") == 64
    assert again.cache.attach("b", [*PROMPT[:50], 1, 2], "") == 50
    assert again.disk is not None and again.disk.counters.read_records == 16
    for name in "ab":
        again.cache.free(name)
    again.close()


def test_a_pool_without_room_computes_instead(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT)
    first.close()
    again = Machine(tmp_path, blocks=20)
    assert again.cache.attach("long", list(range(500, 540)), "") == 0
    assert again.cache.reserve("long", 0, 40)
    assert again.cache.ready("a", PROMPT, "")
    again.cache.check()
    again.cache.free("long")
    assert again.run(PROMPT)["disk"] == 64
    again.close()


def test_where_computing_is_faster_nothing_is_loaded_and_the_miss_says_so(tmp_path: Path) -> None:
    first = Machine(tmp_path)
    first.run(PROMPT)
    first.close()
    again = Machine(tmp_path)
    again.cache.lower.speeds.prefill.book(1e9, 1.0)
    again.cache.lower.speeds.tiers[DISK].book(1e3, 1.0)
    assert again.cache.ready("a", PROMPT, "")
    miss = explain_miss(again.cache, PROMPT, "")
    assert (miss.reason, miss.position, miss.lost_tokens(PROMPT)) == (MissReason.BELOW, 0, 64)
    assert again.run(PROMPT) == {"device": 0, "host": 0, "disk": 0}
    assert explain_miss(again.cache, PROMPT, "").reason is MissReason.NONE
    again.close()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_order_of_prompts_cancellations_restarts_and_damage(tmp_path: Path, layout: CacheLayout, seed: int) -> None:
    """Small tiers, so that everything is evicted all the time. `Machine` checks every byte that is read."""
    choose = random.Random(seed)

    def prompt() -> list[int]:
        return [*PROMPT[: choose.randrange(68)], *(choose.randrange(3) for _ in range(choose.randrange(1, 20)))]

    def machine() -> Machine:
        return Machine(tmp_path, layout, blocks=45, host_bytes=choose.choice([0, 4000]), disk_bytes=40_000)

    now, from_below = machine(), 0
    for _ in range(60):
        what = choose.random()
        if what < 0.7:
            by_tier = now.run(prompt(), salt=choose.choice(["", "", "other"]))
            from_below += by_tier["host"] + by_tier["disk"]
            assert now.disk is not None
            now.disk.flush()  # what is on disk then does not depend on how busy the machine is
        elif what < 0.9:
            now.cache.ready("gone", prompt(), "")
            now.cache.free("gone")
            now.cache.check()
        else:
            now.close()
            files = sorted(path for path in (tmp_path / "segments").iterdir() if path.stat().st_size)
            if files and what > 0.95:
                data = bytearray(files[0].read_bytes())
                data[choose.randrange(len(data))] ^= 8
                files[0].write_bytes(data)
            now = machine()
    now.close()
    assert from_below > 60, "the lower tiers were hardly used"
