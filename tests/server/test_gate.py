"""Keys, limits, hosts, bodies, request ids, CORS, metrics, health: the rules in front of the endpoints."""

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.harness import Running, serving
from windowtax.base.errors import BadInput
from windowtax.engine.load import LoadedModel
from windowtax.server.keys import Bucket, Caller, make_keyring
from windowtax.server.settings import Settings

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
PATH = "/v1/chat/completions"


def test_keys_limits_and_separate_caches(model: LoadedModel, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    hashed = hashlib.sha256(b"sk-bob").hexdigest()
    file.write_text(
        '[[key]]\nname = "alice"\nkey = "sk-alice"\nrequests_per_minute = 3\n'
        f'[[key]]\nname = "bob"\nsha256 = "{hashed}"\ntokens_per_minute = 100\n'
    )
    with serving(model, keyring=make_keyring(file=file)) as server:
        refused = server.post(PATH, CHAT)
        assert refused.status_code == 401 and refused.json()["error"]["type"] == "authentication_error"
        with (
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-no", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()
        assert server.client.get("/health").status_code == 200, "load balancers have no key"
        alice, bob = {"Authorization": "Bearer sk-alice"}, {"x-api-key": "sk-bob"}
        shared = CHAT | {"messages": [{"role": "user", "content": "private " * 8}]}

        def cached(who: dict[str, str]) -> int:
            response = server.post(PATH, shared, headers=who)
            assert response.status_code == 200, response.text
            return response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

        assert cached(alice) == 0 and cached(alice) > 0
        assert cached(bob) == 0, "what alice left in the cache is not bob's"
        assert cached(alice) > 0
        limited = server.post(PATH, shared, headers=alice)
        assert limited.status_code == 429 and 1 <= int(limited.headers["retry-after"]) <= 21
        assert limited.json()["error"]["code"] == "rate_limit_exceeded"
        server.post(PATH, shared, headers=bob)
        assert server.post(PATH, shared, headers=bob).status_code == 429, "bob has used his tokens"


def test_keys_of_the_command_line_have_caches_of_their_own(model: LoadedModel) -> None:
    body = CHAT | {"messages": [{"role": "user", "content": "private " * 8}]}
    with serving(model, keyring=make_keyring(["sk-one", "sk-other"])) as server:

        def cached(key: str) -> int:
            response = server.post(PATH, body, headers={"Authorization": f"Bearer {key}"})
            return response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

        assert cached("sk-one") == 0 and cached("sk-one") > 0
        assert cached("sk-other") == 0


def test_no_salt_of_a_request_leads_into_the_cache_of_another_key() -> None:
    assert Caller("a", salt="a").salt_with("b/c") != Caller("ab", salt="a/b").salt_with("c")
    assert Caller("a", salt="a").salt_with("b") != Caller("ab", salt="ab").salt_with("")
    assert Caller("anybody").salt_with("1 a") != Caller("a", salt="a").salt_with("")
    assert Caller("anybody").salt_with("") == ""


@pytest.mark.parametrize(
    "text",
    ["", "[[key]]\nname = 'a'", "[[key]]\nname = 'a'\nkey = 'x'\nrpm = 3", "[[key]]\nkey = 'x'", "not toml",
     "[[key]]\nname='a'\nkey='x'\n[[key]]\nname='a'\nkey='y'", "[[key]]\nname='a'\nkey='x'\ntokens_per_minute=0"],
)  # fmt: skip
def test_key_files_that_make_no_sense(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(BadInput):
        make_keyring(file=tmp_path / "keys.toml")


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    bucket = Bucket(60, clock=lambda: now[0])
    bucket.take(60)
    assert bucket.wait_s(1) == 1
    now[0] = 10
    assert bucket.wait_s(10) == 0 and bucket.wait_s(15) == 5
    now[0] = 1000
    assert bucket.wait_s(60) == 0 and bucket.wait_s(61) == 1


def test_request_ids(server: Running) -> None:
    mine = server.post(PATH, CHAT, headers={"X-Request-Id": "trace-42"})
    assert mine.headers["x-request-id"] == "trace-42"
    made = server.post(PATH, CHAT, headers={"X-Request-Id": "bad id; x"})
    assert made.headers["x-request-id"].startswith("req_")
    assert server.client.get("/nothing").json()["error"]["type"] == "not_found_error"


def test_bodies_that_are_too_long(model: LoadedModel) -> None:
    settings = Settings(names=("tiny",), body_bytes=1000)
    with serving(model, settings=settings) as server:
        assert server.post(PATH, CHAT).status_code == 200
        long = json.dumps(CHAT | {"user": "x" * 1000}).encode()
        assert server.client.post(PATH, content=long, headers={"content-type": "application/json"}).status_code == 413

        def pieces() -> "object":
            yield long[:600]
            yield long[600:]

        streamed = server.client.post(PATH, content=pieces(), headers={"content-type": "application/json"})  # type: ignore[arg-type]
        assert streamed.status_code == 413, "a length that is not told beforehand counts too"


def test_other_names_for_this_machine_are_refused(model: LoadedModel) -> None:
    settings = Settings(names=("tiny",), hosts=("127.0.0.1", "localhost"))
    with serving(model, settings=settings) as server:
        assert server.client.get("/v1/models").status_code == 200
        evil = server.client.get("/v1/models", headers={"Host": "evil.example"})
        assert evil.status_code == 403 and "allowed-hosts" in evil.json()["error"]["message"]


def test_cors_only_where_it_was_asked_for(model: LoadedModel, server: Running) -> None:
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in server.client.options(PATH, headers=asks).headers
    settings = Settings(names=("tiny",), cors_origins=("https://app.example",))
    with serving(model, settings=settings, keyring=make_keyring(["k"])) as open_server:
        answer = open_server.client.options(PATH, headers=asks)
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://app.example"
        other = open_server.client.options(PATH, headers=asks | {"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_models(server: Running) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        (model,) = client.models.list().data
        assert model.id == "tiny" and model.model_dump()["max_model_len"] == 512
        assert client.models.retrieve("default").id == "tiny"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-4")


def test_health_ready_version(server: Running) -> None:
    assert server.client.get("/health").content == b""
    assert server.client.get("/ready").json()["ready"] is True
    assert server.client.get("/version").json()["version"]


def samples(server: Running) -> dict[str, float]:
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_metrics_under_both_names(server: Running) -> None:
    server.post(PATH, CHAT)
    before = samples(server)
    usage = server.post(PATH, CHAT | {"ignore_eos": True}).json()["usage"]
    after = samples(server)
    for prefix in ("windowtax:", "vllm:"):
        assert after[f"{prefix}prompt_tokens_total"] - before[f"{prefix}prompt_tokens_total"] == usage["prompt_tokens"]
        assert after[f"{prefix}generation_tokens_total"] - before[f"{prefix}generation_tokens_total"] == 2
        hits = f"{prefix}prefix_cache_hits_total"
        assert after[hits] - before[hits] == usage["prompt_tokens_details"]["cached_tokens"]
        count = f"{prefix}time_to_first_token_seconds_count"
        assert after[count] - before[count] == 1
        assert f"{prefix}num_requests_running" in after and f"{prefix}kv_cache_usage_perc" in after
    assert after["windowtax:request_cost_dollars_total"] > before["windowtax:request_cost_dollars_total"]
    assert "vllm:cache_config_info" in after


def _facts(caplog: pytest.LogCaptureFixture, request_id: str) -> list[dict[str, Any]]:
    told = [vars(record).get("facts", {}) for record in caplog.records]
    return [one for one in told if one.get("request_id") == request_id]


def test_one_log_line_per_call_without_prompts_or_keys(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="windowtax.http"):
        body = CHAT | {"messages": [{"role": "user", "content": "confidential"}]}
        server.post(PATH, body, headers={"X-Request-Id": "logged", "Authorization": "Bearer sk-secret"})
        # The line is written when the answer is out, so the client may be here first.
        deadline = time.monotonic() + 10
        while not (told := _facts(caplog, "logged")) and time.monotonic() < deadline:
            time.sleep(0.01)
    (facts,) = told
    assert facts["status"] == 200 and facts["output_tokens"] == 2 and facts["path"] == PATH
    assert "confidential" not in str(facts) and "sk-secret" not in str(facts)


def test_the_cache_page(server: Running) -> None:
    server.post(PATH, CHAT | {"messages": [{"role": "user", "content": "books " * 10}]})
    server.wait_idle()
    found = server.client.get("/v1/cache", params={"blocks": 5}).json()
    assert found["pool_bytes"] == found["held_bytes"] + found["free_bytes"] or found["kept_blocks"] > 0
    assert found["sequences"] == [] and found["kept_blocks"] > 0 and 0 < len(found["blocks"]) <= 5
    assert found["cached_tokens_by_tier"].keys() == {"device", "host", "disk"}
    assert server.post("/reset_prefix_cache", {}).json()["forgotten_blocks"] == found["kept_blocks"]
    assert server.client.get("/v1/cache").json()["kept_blocks"] == 0


def test_openapi_describes_every_endpoint(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {
        PATH, "/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/models",
        "/tokenize", "/detokenize", "/health", "/ready", "/version", "/metrics", "/v1/cache", "/v1/plan",
    }  # fmt: skip


def test_the_wrong_method(server: Running) -> None:
    response: httpx.Response = server.client.get(PATH)
    assert response.status_code == 405 and response.json()["error"]["message"]
