"""Clients that leave, queues that fill, bodies that are no requests, servers that end: nothing hangs or is lost."""

import json
import os
import threading
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.harness import Running, serving, until
from windowtax.engine.load import LoadedModel
from windowtax.engine.service import ServiceLimits
from windowtax.server.settings import Settings

PATH = "/v1/chat/completions"
EXAMPLES = int(os.environ.get("WINDOWTAX_FUZZ_EXAMPLES", "250"))
"""Bodies with malformed fields, and half as many that are no requests at all."""
LONG = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 440, "ignore_eos": True}
ENDPOINTS = (PATH, "/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/tokenize",
             "/detokenize", "/v1/plan")  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_blocks(model: LoadedModel, stream: bool) -> None:
    with serving(model, window=4000, windows=2) as server:
        body = LONG | {"max_tokens": 3900, "stream": stream}
        with httpx.Client(base_url=server.url, timeout=httpx.Timeout(60, read=60 if stream else 0.5)) as client:
            if stream:
                with client.stream("POST", PATH, json=body) as response:
                    next(response.iter_lines())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(PATH, json=body)
        until(lambda: server.engine.cache.held_bytes == 0 or not server.engine.requests, 10)
        server.wait_idle()
        ended = server.served.service.tally.num_requests
        assert ended == {"cancelled": 1}


def test_a_full_queue_is_429_with_retry_after(model: LoadedModel) -> None:
    with serving(model, windows=1, limits=ServiceLimits(max_waiting=1)) as server:
        answers: list[httpx.Response] = []
        lock = threading.Lock()

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                answer = client.post(PATH, json=LONG)
            with lock:
                answers.append(answer)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        statuses = sorted(answer.status_code for answer in answers)
        assert len(statuses) == 8 and set(statuses) == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1 and answer.json()["error"]["code"] == "queue_full"
            else:
                assert answer.json()["usage"]["completion_tokens"] == 440
        server.wait_idle()
        server.engine.cache.check()


def test_a_timeout_is_an_error_in_both_ways(server: Running) -> None:
    answer = server.post(PATH, LONG | {"timeout": 0.0001})
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"
    events = server.events(PATH, LONG | {"timeout": 0.0001, "stream": True})
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "timeout"
    assert events[-1] == "data: [DONE]"


def test_the_end_of_the_server_tells_its_streams(model: LoadedModel) -> None:
    with serving(model, window=4000, settings=Settings(names=("tiny",), drain_s=0)) as server:
        with server.client.stream("POST", PATH, json=LONG | {"max_tokens": 3900, "stream": True}) as response:
            lines = response.iter_lines()
            next(lines)
            server.served.service.close(0)
            rest = [line for line in lines if line.startswith("data: ")]
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert server.client.get("/health").status_code == 503
        refused = server.post(PATH, LONG)
        assert refused.status_code == 503 and refused.headers["retry-after"]


def test_keep_alives_while_nothing_happens(model: LoadedModel) -> None:
    """A request that waits for its turn still gets a sign of life."""
    with serving(model, max_sequences=1, window=4000, settings=Settings(names=("tiny",), keep_alive_s=0.05)) as server:
        first = threading.Thread(target=lambda: server.post(PATH, LONG | {"max_tokens": 3900}))
        first.start()
        until(lambda: server.served.service.num_running == 1)
        lines = server.events(PATH, LONG | {"max_tokens": 2, "stream": True})
        first.join(60)
        assert ": keep-alive" in lines


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "model", "messages", "prompt", "input", "system", "max_tokens", "max_completion_tokens", "max_output_tokens", "n",
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "stream", "stream_options", "tools", "tool_choice",
    "response_format", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "truncate_prompt_tokens", "echo",
    "structured_outputs", "chat_template_kwargs", "tokens", "text", "priority", "timeout", "cache_salt", "context",
    "instructions", "output_config", "min_tokens", "stop_token_ids", "best_of", "documents",
)  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    PATH: {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
    "/v1/completions": {"prompt": "x", "max_tokens": 1},
    "/v1/responses": {"input": "x", "max_output_tokens": 1},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "x"}]},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [1]},
    "/v1/plan": {},
}
bodies = st.sampled_from(ENDPOINTS).flatmap(
    lambda path: st.tuples(
        st.just(path),
        st.dictionaries(st.sampled_from(NAMES), values, max_size=3).map(lambda change: GOOD[path] | change),
    )
)


def check(response: httpx.Response) -> None:
    """No failure of the server's, and every refusal says why."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error["message"] and error["type"]


@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies)
def test_malformed_fields(server: Running, case: tuple[str, dict[str, Any]]) -> None:
    path, body = case
    text = json.dumps(body)
    check(server.client.post(path, content=text, headers={"content-type": "application/json"}))


@settings(deadline=None, max_examples=EXAMPLES // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ENDPOINTS), st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_bodies_that_are_no_requests(server: Running, path: str, content: bytes) -> None:
    check(server.client.post(path, content=content, headers={"content-type": "application/json"}))


@pytest.mark.parametrize(
    "content",
    [
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 100_000,
        b'{"max_tokens": ' + b"9" * 10_000 + b"}",
        b"",
        b"null",
        b'{"prompt": NaN}',
        b'{"prompt": 1e999}',
        b'{"model": "\\udfff"}',
        "{'messages': 1}".encode("utf-16"),
    ],
)
@pytest.mark.parametrize("path", ENDPOINTS)
def test_nasty_bodies(server: Running, path: str, content: bytes) -> None:
    response = server.client.post(path, content=content, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500
    check(response)


def test_it_still_answers_after_all_that(server: Running) -> None:
    assert server.post(PATH, LONG).json()["usage"]["completion_tokens"] == 440
    server.wait_idle()
    assert not server.engine.requests
    server.engine.cache.check()
