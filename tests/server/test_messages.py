"""Anthropic's Messages with the official client, against a real server."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.server.harness import Running

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


def test_whole(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="default", max_tokens=6, messages=HELLO, system="Be kind.")
    assert answer.type == "message" and answer.role == "assistant" and answer.model == "tiny"
    assert answer.content[0].type == "text" and answer.stop_reason in ("max_tokens", "end_turn")
    assert answer.usage.cache_read_input_tokens is not None and answer.usage.cache_creation_input_tokens == 0


def test_counting_agrees_with_usage(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "tiny", "messages": HELLO, "system": [{"type": "text", "text": "Be brief."}]}
    counted = client.messages.count_tokens(**asked).input_tokens
    usage = client.messages.create(max_tokens=1, **asked).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_cached_tokens_are_not_among_input_tokens(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": "twice " * 20}]}
    first, second = (client.messages.create(**asked).usage for _ in range(2))
    # Other tests have left prompts that begin alike, but not for a whole block.
    assert (first.cache_read_input_tokens or 0) < 16 < (second.cache_read_input_tokens or 0)
    sums = {usage.input_tokens + (usage.cache_read_input_tokens or 0) for usage in (first, second)}
    assert len(sums) == 1, "together they are the prompt"


def test_the_events_of_a_stream_in_order(server: Running) -> None:
    lines = server.events("/v1/messages", {"model": "tiny", "max_tokens": 5, "messages": HELLO, "stream": True,
                                           "ignore_eos": True, "temperature": 0})  # fmt: skip
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    bodies = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [body["type"] for body in bodies] == names
    kinds = [name for name in names if name != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert bodies[-2]["delta"]["stop_reason"] == "max_tokens" and bodies[-2]["usage"]["output_tokens"] == 5


def test_a_stream_accumulates_to_the_whole(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": "tiny", "max_tokens": 8, "messages": HELLO, "extra_body": {"temperature": 0}}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_of_a_tool(client: anthropic.Anthropic, streamed: bool) -> None:
    asked: Any = {
        "model": "tiny", "max_tokens": 120, "messages": HELLO, "tools": [TOOL],
        "tool_choice": {"type": "tool", "name": "get_weather"},
    }  # fmt: skip
    if streamed:
        with client.messages.stream(**asked) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = client.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    (block,) = answer.content
    assert block.type == "tool_use" and block.name == "get_weather" and block.input["city"] in ("Paris", "Rome")
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
    turn = [*HELLO, {"role": "assistant", "content": [block.to_dict()]}, {"role": "user", "content": [result]}]
    more = client.messages.create(model="tiny", max_tokens=2, messages=turn, tools=[TOOL])
    assert more.usage.output_tokens > 0


def test_a_stop_sequence_is_named(server: Running) -> None:
    x = server.post("/tokenize", {"prompt": "x"}).json()["tokens"][0]
    body = {"max_tokens": 8, "messages": HELLO, "stop_sequences": ["xx"], "logit_bias": {str(x): 100}}
    answer = server.post("/v1/messages", body).json()
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "xx")


def test_errors_are_in_their_shape(client: anthropic.Anthropic, server: Running) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="tiny", max_tokens=10, messages=[{"role": "user", "content": "x" * 600}])
    body: Any = caught.value.body
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
    assert body["error"]["windowtax"]["window_tokens"] == 512
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-x", max_tokens=1, messages=HELLO)
    response = server.post("/v1/messages", {"messages": HELLO})
    assert response.status_code == 400 and "max_tokens" in response.json()["error"]["message"]
