"""benchmarks/reliability in small: server processes over a tiny model in fp32, everything that can happen to them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks.reliability.answers import Answer, make_prompts
from benchmarks.reliability.disks import damaged_while_running, full_disk, two_servers
from benchmarks.reliability.endings import run_endings
from benchmarks.reliability.kills import cold_answers, restart_shows_reuse, run_kills
from benchmarks.reliability.mix import Scale
from benchmarks.reliability.mixed import run_mixed
from benchmarks.reliability.process import ServerProcess

from tests.server.harness import save_tiny_chat

SCALE = Scale(window_tokens=512, short_words=6, prefix_words=20, long_tokens=(250, 400), output_tokens=40)
NUM_TOKENS = 8

pytestmark = pytest.mark.xdist_group("server processes")


def silent(_: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """A window of 512 tokens, in fp32."""
    folder = save_tiny_chat(tmp_path_factory.mktemp("tiny"))
    exact = ("--dtype", "fp32", "--cache-dtype", "fp32", "--max-model-len", "512")
    return (str(folder), *exact, "--kv-cache-memory-bytes", "800KiB")


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return make_prompts(1, prefixes=2, tails=2, prefix_words=25, tail_words=8)


@pytest.fixture(scope="module")
def expected(words: Sequence[str], prompts: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    return cold_answers(words, prompts, NUM_TOKENS, tmp_path_factory.mktemp("cold"))


def test_every_request_ends_and_every_block_comes_back(words: Sequence[str], tmp_path: Path) -> None:
    small_pool = ("--kv-cache-memory-bytes", "200KiB")  # 800 tokens: clients that want more are preempted
    options = (*small_pool, "--max-waiting", "16", "--speculate", "ngram", "--cache-ram", "800KiB")
    with ServerProcess(*words, *options, log=tmp_path / "log") as server:
        found = run_mixed(server, SCALE, requests=150, seed=1, clients=24, rounds=2, told=silent)
    assert found["faults"] == [] and found["failed_steps"] == 0
    assert found["requests"] == sum(found["ended"].values()) == 150
    assert found["preemptions"] > 0 and found["ended"]["client left"] > 0
    assert found["dashboard"]["failed"] == [] and found["dashboard"]["rude_connections"] > 0
    for books in found["books"]:
        assert books["idle"] and books["blocks_free"] == books["blocks_total"] and books["sequences"] == 0


def test_a_server_that_ends_leaves_nobody_without_an_answer(words: Sequence[str], tmp_path: Path) -> None:
    found = run_endings(words, SCALE, tmp_path, rounds=1, clients=12, seed=1, told=silent)
    assert found["faults"] == []
    assert set(found["return_codes"]) <= {"0", "-15"}


def test_kill_9_under_load_never_gives_a_wrong_token(
    words: Sequence[str], prompts: list[str], expected: list[Answer], tmp_path: Path
) -> None:
    tiers = (
        ("--cache-ssd", f"{tmp_path / 'kept'}:16MiB"),
        ("--cache-ssd", f"{tmp_path / 'kept'}", "--cache-ram", "1MiB"),
    )
    found = run_kills(
        words, prompts, expected, tmp_path, tiers=tiers, rounds=2, clients=3, seed=1, told=silent
    )  # fmt: skip
    assert found["wrong"] == [] and found["answers"]["right"] > 0
    assert [verified["damaged"] for verified in found["verified"]] == [0]
    after = restart_shows_reuse(words, prompts, expected, tmp_path, tiers[0])
    assert after["answers"] == {"right": len(prompts)}
    assert after["cached_tokens"]["disk"] > 0, "a restart that reuses nothing is no restart"


def test_two_servers_share_a_folder(
    words: Sequence[str], prompts: list[str], expected: list[Answer], tmp_path: Path
) -> None:
    found = two_servers(words, prompts, expected, tmp_path, clients=2)
    for name in ("writer", "reader", "after"):
        assert found[name]["wrong"] == [] and set(found[name]["answers"]) == {"right"}
    assert found["after"]["cached_tokens"]["disk"] > 0
    assert found["verified"]["damaged"] == 0 and found["verified"]["records"] > 0


def test_a_full_disk_costs_speed_and_nothing_else(
    words: Sequence[str], prompts: list[str], expected: list[Answer], tmp_path: Path
) -> None:
    found = full_disk(words, prompts, expected, tmp_path / "kept", tmp_path, clients=2, file_bytes=40_000)
    assert found["idle"] and set(found["full"]["answers"]) == set(found["restarted"]["answers"]) == {"right"}
    assert found["restarted"]["cached_tokens"]["disk"] > 0, "what was written before is there"
    assert found["verified"]["damaged"] == 0
    assert "the system lets no file grow further" in (tmp_path / "full.log").read_text(), "and the reason is told"


def test_damage_under_a_running_server_is_computed_again(
    words: Sequence[str], prompts: list[str], expected: list[Answer], tmp_path: Path
) -> None:
    found = damaged_while_running(words, prompts, expected, tmp_path, clients=2, seed=4)
    assert found["idle"] and found["wrong"] == [] and set(found["answers"]) == {"right"}
    assert found["cached_tokens"]["disk"] > 0
