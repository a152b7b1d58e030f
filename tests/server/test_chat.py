"""Chat completions with the official client, against a real server."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.harness import Running

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_whole(client: openai.OpenAI, server: Running) -> None:
    answer = client.chat.completions.create(model="default", messages=HELLO, max_tokens=12, temperature=0)
    assert answer.object == "chat.completion" and answer.model == "tiny"
    choice, usage = answer.choices[0], answer.usage
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert usage is not None and usage.prompt_tokens_details is not None
    rendered = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    counted = server.post("/tokenize", {"prompt": rendered}).json()["count"]
    assert usage.prompt_tokens == counted
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert isinstance(usage.prompt_tokens_details.cached_tokens, int)


def test_a_stream_is_as_clients_expect(server: Running) -> None:
    body = {"messages": HELLO, "max_tokens": 9, "temperature": 0, "ignore_eos": True, "stream": True}
    whole = server.post("/v1/chat/completions", {**body, "stream": False}).json()
    chunks = server.chunks("/v1/chat/completions", body | {"stream_options": {"include_usage": True}})
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 9
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]][-1] == "length"
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in chunks[:-2])


def test_without_include_usage_no_chunk_has_usage(server: Running) -> None:
    chunks = server.chunks("/v1/chat/completions", {"messages": HELLO, "max_tokens": 3, "stream": True})
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


def test_continuous_usage(server: Running) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"messages": HELLO, "max_tokens": 4, "ignore_eos": True, "stream": True, "stream_options": options}
    counts = [
        chunk["usage"]["completion_tokens"] for chunk in server.chunks("/v1/chat/completions", body) if chunk["usage"]
    ]
    assert counts[-1] == 4 and counts == sorted(counts) and len(counts) > 1


def test_a_repeated_prompt_shows_cached_tokens_and_the_same_answer(server: Running) -> None:
    body = {
        "messages": [{"role": "user", "content": "again " * 20}],
        "max_tokens": 8,
        "temperature": 0,
        "ignore_eos": True,
    }
    first, second = (server.post("/v1/chat/completions", body).json() for _ in range(2))
    assert first["choices"][0]["message"] == second["choices"][0]["message"]
    details = second["usage"]["prompt_tokens_details"]
    assert details["cached_tokens"] == second["usage"]["prompt_tokens"] - 1, "a full hit computes one token"
    bill = second["usage"]["windowtax"]
    assert bill["cached_tokens_by_tier"]["device"] == details["cached_tokens"]
    assert bill["recompute_avoided_tokens"] == details["cached_tokens"]
    assert bill["usd"] > 0 and bill["usd_api"] > 0
    assert bill["kv_peak_bytes"] > 0 and bill["kv_byte_seconds"] > 0


def test_salts_do_not_share(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "secret " * 20}], "max_tokens": 2}

    def cached(salt: str) -> int:
        usage = server.post("/v1/chat/completions", body | {"cache_salt": salt}).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert [cached("a"), cached("b")] == [0, 0]
    assert cached("a") > 0


def test_several_answers_read_the_prompt_once(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "a long question " * 12}], "max_tokens": 2, "n": 4}
    usage = server.post("/v1/chat/completions", body).json()["usage"]
    per_answer = usage["prompt_tokens"]
    assert usage["windowtax"]["recompute_avoided_tokens"] > 2 * per_answer, "three of four found it in the cache"


def test_choices_and_seeds(client: openai.OpenAI) -> None:
    def texts() -> list[str | None]:
        answer = client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=8, n=3, seed=7, temperature=1.5, extra_body={"ignore_eos": True}
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert answer.usage is not None and answer.usage.completion_tokens == 24
        return [choice.message.content for choice in answer.choices]

    first = texts()
    assert first == texts(), "a seed gives the same answers"
    assert len(set(first)) == 3, "the answers differ"


def test_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None and len(logprobs.content) == 4
    for token in logprobs.content:
        assert token.top_logprobs[0].logprob == token.logprob, "greedy takes the likeliest"
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3, stream=True,
            extra_body={"ignore_eos": True},
        )
    )  # fmt: skip
    streamed = [one for chunk in chunks for one in (chunk.choices[0].logprobs or logprobs.__class__()).content or []]
    assert [one.token for one in streamed] == [one.token for one in logprobs.content]


def test_stop_and_bias(server: Running) -> None:
    x = server.post("/tokenize", {"prompt": "x"}).json()["tokens"][0]
    body = {"messages": HELLO, "max_tokens": 8, "temperature": 0, "logit_bias": {str(x): 100}}
    choice = server.post("/v1/chat/completions", body).json()["choices"][0]
    assert choice["message"]["content"] == "xxxxxxxx"
    choice = server.post("/v1/chat/completions", body | {"stop": ["xxx"]}).json()["choices"][0]
    assert choice == choice | {"finish_reason": "stop"} and choice["message"]["content"] == ""


def test_a_schema_is_followed(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}, "ok": {"type": "boolean"}},
        "required": ["n", "ok"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=60, seed=1,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
    )  # fmt: skip
    found = json.loads(answer.choices[0].message.content or "")
    assert set(found) == {"n", "ok"} and 0 <= found["n"] <= 9


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def test_a_required_call_comes_back_as_a_call(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=120, seed=1, tools=[WEATHER], tool_choice="required",
        parallel_tool_calls=False,
    )  # fmt: skip
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def test_a_streamed_call_accumulates_to_the_same(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="tiny", messages=HELLO, max_tokens=120, seed=1, tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    ) as stream:  # fmt: skip
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    (call,) = final.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def test_a_conversation_with_calls_and_results(server: Running) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
    ]
    response = server.post("/v1/chat/completions", {"messages": messages, "tools": [WEATHER], "max_tokens": 2})
    assert response.status_code == 200, response.text


def test_a_miss_is_explained(server: Running) -> None:
    """The pain of every engine: a date in the system message that changes, and nobody says so."""

    def ask(date: str) -> Any:
        messages = [
            {"role": "system", "content": f"You are careful and kind, and today it is {date}."},
            {"role": "user", "content": "question " * 8},
        ]
        body = {"messages": messages, "max_tokens": 1, "explain_cache": True}
        return server.post("/v1/chat/completions", body).json()["usage"]["windowtax"]["miss"]

    first, second, third = ask("2026-11-22"), ask("2026-11-23"), ask("2026-11-23")
    assert first["where"] and first["reason"] in ("empty", "new", "diverges")
    assert (second["reason"], second["where"]) == ("diverges", "messages[0] (system)")
    assert (second["kept_token"], second["token"]) == ("2", "3") and second["after"].endswith("2026-11-2")
    assert second["computed_tokens"] > 60 and third["reason"] == "none"


def test_unknown_fields_warn(server: Running) -> None:
    response = server.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 1, "wibble": 3, "user": "me"})
    assert response.status_code == 200
    assert "'wibble'" in response.headers["x-windowtax-warning"]
    assert response.json()["windowtax"]["warnings"] == ["The field 'wibble' is not known here and has no effect."]


def test_progress_of_a_long_prompt(server: Running) -> None:
    long = [{"role": "user", "content": "progress " * 40}]
    body = {"messages": long, "max_tokens": 1, "stream": True}
    chunks = server.chunks("/v1/chat/completions", body | {"return_progress": True, "cache_salt": "progress"})
    told = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
    assert len(told) >= 3, "64 tokens a step, some 390 of prompt"
    assert [one["processed"] for one in told] == sorted(one["processed"] for one in told)
    assert {one["total"] for one in told} == {server.post("/tokenize", {"messages": long}).json()["count"]}
    lines = server.events("/v1/chat/completions", body | {"cache_salt": "comments"})
    assert any(line.startswith(": prompt 64/") for line in lines), "a comment keeps proxies awake"


def test_too_long_says_both_numbers_and_what_else_there_is(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x" * 600}], max_tokens=20)
    error: Any = caught.value.body
    assert caught.value.code == "context_length_exceeded" and "512" in error["message"]
    details = error["windowtax"]
    assert details["window_tokens"] == 512 and details["requested_tokens"] == details["prompt_tokens"] + 20
    assert details["largest_prompt_tokens"] == 492
    assert any(one.get("usd", 0) > 0 for one in details["alternatives"])
    assert any("--max-model-len" in one.get("flags", "") for one in details["alternatives"])


def test_the_longest_that_fits_fits(server: Running) -> None:
    prompt = {"messages": [{"role": "user", "content": "y"}]}
    used = server.post("/tokenize", prompt).json()["count"]
    fits = {"messages": [{"role": "user", "content": "y" * (512 - 20 - used + 1)}], "max_tokens": 20}
    assert server.post("/v1/chat/completions", fits).status_code == 200
    over = {"messages": [{"role": "user", "content": "y" * (512 - 20 - used + 2)}], "max_tokens": 20}
    assert server.post("/v1/chat/completions", over).status_code == 400


def test_a_cut_is_only_made_when_asked_for_and_is_said(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "x" * 600}], "max_tokens": 2, "truncate_prompt_tokens": 100}
    response = server.post("/v1/chat/completions", body)
    assert response.json()["usage"]["prompt_tokens"] == 100
    assert "cut the first" in response.headers["x-windowtax-warning"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 10**6}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs"),
        ({"model": "gpt-9"}, "model"),
    ],
)
def test_errors_name_the_field(server: Running, change: dict[str, Any], param: str) -> None:
    response = server.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 2} | change)
    assert response.status_code == (404 if param == "model" else 400), response.text
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"} and error["param"] == param
