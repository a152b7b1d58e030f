"""Why a prefix was not found: in the answer, in the log, and kept for the key that asked and for no other."""

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from genai_prices import Usage, calc_price

from tests.server.harness import Running, serving, until
from windowtax.engine.load import LoadedModel
from windowtax.price.api import PriceList
from windowtax.server.keys import make_keyring
from windowtax.server.misses import LOGGED_TOKENS, Misses
from windowtax.server.parts import PromptParts
from windowtax.server.settings import Settings

PATH = "/v1/chat/completions"
RULES = "Rule: tests before words. " * 16


def asked(server: Running, system: str, request_id: str = "one", key: str = "", **more: Any) -> httpx.Response:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "question"}]
    body = {"messages": messages, "max_tokens": 1, **more}
    headers = {"X-Request-Id": request_id} | ({"Authorization": f"Bearer {key}"} if key else {})
    reply = server.post(PATH, body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


def test_a_changed_date_is_priced_in_tokens_seconds_and_dollars(model: LoadedModel) -> None:
    """genai-prices is the witness for what the API takes."""
    settings = Settings(names=("tiny",), usd_per_hour=0.36, price_list=PriceList("openai", "gpt-5"))
    with serving(model, window=1024, settings=settings) as server:
        asked(server, f"Today is 2026-11-22. {RULES}")
        usage = asked(server, f"Today is 2026-11-23. {RULES}", explain_cache=True).json()["usage"]
        miss = usage["windowtax"]["miss"]
        assert (miss["reason"], miss["where"], miss["token"], miss["kept_token"]) == (
            "diverges", "messages[0] (system)", "3", "2",
        )  # fmt: skip
        assert miss["kept_text"].startswith("2. Rule") and miss["text"].startswith("3. Rule")
        behind = usage["prompt_tokens"] - miss["position"] - 1
        assert behind - 17 < miss["lost_tokens"] <= behind - 1, "but for a last block that is not whole"
        assert miss["lost_usd"] == pytest.approx(miss["lost_s_estimate"] * 0.36 / 3600)
        cached, prompt = usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]
        costs = [
            calc_price(Usage(input_tokens=prompt, cache_read_tokens=read), "gpt-5", provider_id="openai")
            for read in (cached, cached + miss["lost_tokens"])
        ]
        assert miss["lost_usd_api"] == pytest.approx(float(costs[0].total_price - costs[1].total_price))


def test_another_question_loses_nothing(model: LoadedModel) -> None:
    with serving(model, window=1024) as server:
        asked(server, RULES)
        messages = [{"role": "system", "content": RULES}, {"role": "user", "content": "What else, then?"}]
        body = {"messages": messages, "max_tokens": 1, "explain_cache": True}
        miss = server.post(PATH, body).json()["usage"]["windowtax"]["miss"]
        assert miss["lost_tokens"] == 0 and miss["lost_usd_api"] == 0 and miss["computed_tokens"] > 0
        assert miss["where"] in ("messages[1] (user)", "the chat template, after messages[0] (system)")


def test_a_tool_that_changed_is_named(model: LoadedModel) -> None:
    def tool(name: str, what: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "description": what, "parameters": {"type": "object"}}}

    def miss(*tools: dict[str, Any]) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "explain_cache": True, "tools": tools}
        return server.post(PATH, body).json()["usage"]["windowtax"]["miss"]

    with serving(model, window=1024) as server:
        miss(tool("look", "Looks for a word."), tool("write", "Writes it down. " * 20))
        found = miss(tool("look", "Looks for a thing."), tool("write", "Writes it down. " * 20))
        assert found["where"] == "tools[0] (look)" and found["lost_tokens"] > 300


def test_anthropics_names_are_those_of_its_body(server: Running) -> None:
    def miss(date: str) -> dict[str, Any]:
        blocks = [{"type": "tool_result", "tool_use_id": "t", "content": f"found on {date}"}]
        use = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
        messages = [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [*blocks, {"type": "text", "text": "Well?"}]},
        ]
        body = {"model": "tiny", "max_tokens": 1, "system": "Be kind.", "messages": messages, "explain_cache": True}
        return server.post("/v1/messages", body).json()["usage"]["windowtax"]["miss"]

    miss("2026-11-22")
    assert miss("2026-11-23")["where"] == "messages[2] (tool)"


def test_of_a_bare_prompt_the_part_is_the_prompt(server: Running) -> None:
    for number in (1, 2):
        body = {
            "prompt": f"A beginning that fills a block, {number}, and goes on and on.",
            "max_tokens": 1,
            "explain_cache": True,
        }
        miss = server.post("/v1/completions", body).json()["usage"]["windowtax"]["miss"]
    assert (miss["where"], miss["token"], miss["kept_token"]) == ("the prompt", "2", "1")


def test_a_cut_prompt_keeps_its_parts() -> None:
    messages = [{"role": "system", "content": "abcdef"}, {"role": "user", "content": "ghi"}]
    parts = PromptParts.of("<abcdef><ghi>", messages, [], skipped=3)
    assert parts.at(0) == "messages[0] (system)" and parts.at(6) == "messages[1] (user)"


def test_the_server_keeps_what_it_found_and_logs_what_was_large(
    model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(model, window=1024) as server, caplog.at_level(logging.INFO, logger="windowtax.cache"):
        for request_id, day in (("first", 22), ("second", 23)):
            asked(server, f"Today is 2026-11-{day}. {RULES}", request_id)
        asked(server, f"Today is 2026-11-23. {RULES}", "third")
        last = server.client.get("/v1/cache/explain", params={"limit": 3}).json()["requests"]
        assert [one["request_id"] for one in last] == ["third", "second", "first"]
        second = server.client.get("/v1/cache/explain/second").json()
        assert second == last[1] and second["lost_tokens"] >= LOGGED_TOKENS
        assert (second["reason"], second["where"], second["key"]) == ("diverges", "messages[0] (system)", "anybody")
        assert last[0]["reason"] == "none" and last[0]["lost_tokens"] == 0
        assert server.client.get("/v1/cache/explain/nothing").status_code == 404
    (line,) = [vars(one)["facts"] for one in caplog.records if one.getMessage() == "prefix missed"]
    assert line["request_id"] == "second" and line["lost_usd_api"] > 0 and line["token"] == "3"
    assert "Rule" not in json.dumps(line), "a log has no prompts, only the token that differs"


SECRET = "The secret of alice: blue boats at noon. " * 4


def test_a_key_sees_nothing_of_another_one(model: LoadedModel, tmp_path: Path) -> None:
    """Whatever bob asks for, nothing of alice's prompts is in it: no word, no token, no name of a block, no length."""
    file = tmp_path / "keys.toml"
    file.write_text('[[key]]\nname = "alice"\nkey = "sk-a"\n[[key]]\nname = "bob"\nkey = "sk-b"\n')
    with serving(model, window=1024, keyring=make_keyring(file=file)) as server:

        def seen(key: str, path: str, **params: Any) -> httpx.Response:
            return server.client.get(path, params=params, headers={"Authorization": f"Bearer {key}"})

        before = seen("sk-b", "/v1/cache", blocks=1000).json()
        asked(server, SECRET, "shared-id", "sk-a")
        asked(server, SECRET.replace("noon", "dusk"), "hers", "sk-a", cache_salt="deeper")
        server.wait_idle()
        hers = seen("sk-a", "/v1/cache", blocks=1000).json()
        names = {one["block"] for one in hers["blocks"]}
        assert names and "secret of alice" in hers["prefixes"][0]["words"]
        assert seen("sk-a", "/v1/cache/explain/shared-id").status_code == 200
        assert seen("sk-a", "/v1/cache/explain/hers").status_code == 404, "under another salt"
        assert seen("sk-a", "/v1/cache/explain/hers", cache_salt="deeper").status_code == 200

        found = seen("sk-b", "/v1/cache", blocks=1000, prefixes=1000)
        assert found.json()["blocks"] == found.json()["prefixes"] == found.json()["sequences"] == []
        assert before["blocks"] == []
        texts = [found.text, seen("sk-b", "/v1/cache/map").text, seen("sk-b", "/v1/cache/explain", limit=64).text]
        for salt in ("", "deeper", "5 alice", "5 alicedeeper"):
            texts.append(seen("sk-b", "/v1/cache", blocks=1000, cache_salt=salt).text)
            for request_id in ("shared-id", "hers"):
                reply = seen("sk-b", f"/v1/cache/explain/{request_id}", cache_salt=salt)
                assert reply.status_code == 404
                texts.append(reply.text)
        assert not [text for text in texts if "boats" in text or "alice" in text.replace("5 alice", "")]
        assert not [name for name in names for text in texts if name in text]

        # A miss of bob's tells bob's own words only, though alice's prompt begins with the same ones.
        mine = asked(server, "The secret of alice: none.", "shared-id", "sk-b", explain_cache=True)
        miss = mine.json()["usage"]["windowtax"]["miss"]
        assert miss["reason"] == "empty" and miss["kept_token"] is miss["kept_text"] is None
        assert miss["lost_tokens"] == 0
        assert seen("sk-b", "/v1/cache/explain/shared-id").json()["key"] == "bob"
        assert seen("sk-a", "/v1/cache/explain/shared-id").json()["key"] == "alice"
        segments = seen("sk-b", "/v1/cache/map").json()["segments"]
        assert sum(one["words"] is None for one in segments) == 1, "all that is not bob's is one sum"


def test_another_tenants_running_requests_are_a_number(model: LoadedModel) -> None:
    with serving(model, window=1024, keyring=make_keyring(["sk-a", "sk-b"])) as server:
        headers = {"Authorization": "Bearer sk-a"}
        body = {"prompt": "go on", "max_tokens": 900, "ignore_eos": True, "stream": True}
        with server.client.stream("POST", "/v1/completions", json=body, headers=headers) as stream:
            lines = stream.iter_lines()
            next(lines)
            looked = [
                server.client.get("/v1/cache", headers={"Authorization": f"Bearer {key}"}).json()
                for key in ("sk-a", "sk-b")
            ]
            drawn = server.client.get("/v1/cache/map", headers={"Authorization": "Bearer sk-b"}).json()
        assert [len(one["sequences"]) for one in looked] == [1, 0]
        assert [one["other_sequences"] for one in looked] == [0, 1]
        assert drawn["sequences"] == []


def test_what_is_kept_is_bounded_and_broken_explanations_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    misses = Misses()
    logging.getLogger("windowtax.cache").propagate = True
    for tenant in range(70):
        for number in range(70):
            misses.add(f"t{tenant}", {"request_id": str(number)}, lambda: [{"lost_tokens": 0}])
    assert [len(misses.last(f"t{tenant}", 1000)) for tenant in (0, 5, 6, 69)] == [0, 0, 64, 64]
    assert misses.find("t69", "5") is None and misses.find("t69", "6") is not None
    misses.add("t69", {"request_id": "broken"}, lambda: {}["no"])
    misses.add("t69", {"request_id": "after"}, lambda: [{"lost_tokens": 0}])
    until(lambda: misses.find("t69", "after") is not None)
    assert misses.find("t69", "broken") is None and "could not be explained" in caplog.text


def test_each_prompt_of_several_is_explained(server: Running) -> None:
    body: dict[str, Any] = {"max_tokens": 1, "explain_cache": True}
    rules = [f"{name} rules, which fill some blocks and go on and on: {RULES}" for name in ("First", "Second")]
    server.post("/v1/completions", body | {"prompt": [f"{rule} Is it 1?" for rule in rules]})
    asked = server.post(
        "/v1/completions",
        body | {"prompt": [f"{rules[0]} Is it 2?", f"New {rules[1]}"]},
        headers={"X-Request-Id": "several"},
    )
    own = asked.json()["usage"]["windowtax"]
    assert "miss" not in own
    first, second = own["misses"]
    assert first["cached_tokens"] > 0 and second["cached_tokens"] == 0
    kept = [server.client.get(f"/v1/cache/explain/{name}").json() for name in ("several", "several.2")]
    assert [one["prompt_tokens"] for one in kept] == [first["prompt_tokens"], second["prompt_tokens"]]
