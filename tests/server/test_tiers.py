"""`--cache-ram` and `--cache-ssd` through HTTP: the bill by tier, the same answers after restarts, and /v1/cache."""

import signal
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.server.harness import Running, save_tiny_chat, serving, until
from tests.server.test_serve_command import Process, started
from windowtax.engine.load import LoadedModel
from windowtax.engine.tier_options import TierOptions
from windowtax.engine.tiering import TieredCache

CHAT: list[Any] = [{"role": "user", "content": "Ferries leave at noon, and boats at dusk. " * 12}]


def asked(url: str) -> tuple[str, int, dict[str, int]]:
    """The answer, cached tokens, and these by tier."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        made = client.chat.completions.create(
            model="default", messages=CHAT, max_tokens=24, temperature=0, extra_body={"ignore_eos": True}
        )
    assert made.usage is not None and made.usage.prompt_tokens_details is not None
    cached = made.usage.prompt_tokens_details.cached_tokens or 0
    tiers = made.usage.model_dump()["windowtax"]["cached_tokens_by_tier"]
    assert sum(tiers.values()) == cached
    return made.choices[0].message.content or "", cached, tiers


def kept(url: str) -> dict[str, Any]:
    return httpx.get(f"{url}/v1/cache").json()


def serve(folder: Path, model: Path) -> Process:
    words = ("--dtype", "fp32", "--ledger", "none", "--cache-bytes", "64MiB", "--cache-ram", "16MiB")
    return started(str(model), *words, "--cache-ssd", f"{folder}:64MiB")


def test_a_prefix_outlives_the_server_and_a_kill(tmp_path: Path) -> None:
    """Three lives on one folder; the second ends by SIGKILL. Reuse is never nought, and no token is another one."""
    model = save_tiny_chat(tmp_path / "model")
    first = serve(tmp_path / "kept", model)
    answer, cached, _ = asked(first.url)
    assert cached == 0
    again = asked(first.url)
    assert again[0] == answer and again[2]["device"] == again[1] > 480
    first.end()

    second = serve(tmp_path / "kept", model)
    before = kept(second.url)
    assert before["tiers"]["device"]["blocks"] == 0 and before["tiers"]["disk"]["blocks"] >= 16
    assert [one["tiers"]["device"] for one in before["prefixes"]] == [0] * len(before["prefixes"])
    assert sum(one["tiers"]["disk"] for one in before["prefixes"]) == before["tiers"]["disk"]["blocks"]
    assert "Ferries leave at noon" in before["prefixes"][0]["words"]
    text, cached, tiers = asked(second.url)
    assert text == answer and tiers["disk"] >= 480 and cached >= tiers["disk"]
    until(lambda: kept(second.url)["prefixes"][0]["tiers"]["device"])  # an older survey may be told for a moment
    after = kept(second.url)["prefixes"][0]["tiers"]
    assert after["device"] >= 16 and after["host"] >= 15 and after["disk"] >= 16
    second.popen.send_signal(signal.SIGKILL)
    second.popen.communicate(timeout=60)

    third = serve(tmp_path / "kept", model)
    text, _, tiers = asked(third.url)
    assert text == answer and tiers["disk"] >= 480
    third.end()


def test_what_the_pool_had_no_room_for_comes_back_from_ram(model: LoadedModel) -> None:
    with serving(model, window=512, windows=1, tiers=TierOptions(ram_bytes=32 << 20)) as server:
        assert isinstance(server.engine.cache, TieredCache)
        lower = server.engine.cache.lower
        lower.choose = lambda offers: max(
            offers, key=lambda one: one.num_tokens, default=None
        )  # whatever is faster here
        first = _ask(server, "blue boats")
        for number in range(3):
            _ask(server, f"{number} others need the room")
        cold = _ask(server, "blue boats")
        assert cold["usage"]["windowtax"]["cached_tokens_by_tier"]["host"] > 300
        assert cold["choices"] == first["choices"]
        server.wait_idle()
        found = server.client.get("/v1/cache", params={"blocks": 100}).json()
        assert {tier for one in found["blocks"] for tier in one["tiers"]} == {"device", "host"}
        assert "disk" not in found["tiers"]


def test_prefixes_are_listed_page_by_page(model: LoadedModel) -> None:
    with serving(model, window=512, tiers=TierOptions(ram_bytes=1 << 20)) as server:
        for number in range(5):
            _ask(server, f"{number} begins differently", words=3)
        server.wait_idle()
        until(lambda: len(server.client.get("/v1/cache").json()["prefixes"]) >= 5)
        first = server.client.get("/v1/cache", params={"prefixes": 2}).json()
        rest = server.client.get("/v1/cache", params={"prefixes": 1000, "after": first["next_prefix"]}).json()
        names = [one["prefix"] for one in (*first["prefixes"], *rest["prefixes"])]
        assert len(first["prefixes"]) == 2 and rest["next_prefix"] is None and len(names) == len(set(names)) >= 5
        assert "prefixes" not in server.client.get("/v1/cache", params={"prefixes": 0}).json()


def _ask(server: Running, begin: str, words: int = 25) -> Any:
    body = {"prompt": f"{begin}: " + "so they go on. " * words, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    reply = server.post("/v1/completions", body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_folder_is_free_again_when_its_server_has_ended(model: LoadedModel, tmp_path: Path) -> None:
    """The engine's thread closes what another one has opened."""
    tiers = TierOptions(ssd=tmp_path, ssd_bytes=64 << 20)
    for _ in range(2):
        with serving(model, tiers=tiers) as server:
            _ask(server, "blue boats", words=5)
            assert server.client.get("/v1/cache").json()["tiers"]["disk"]["stopped"] is None
