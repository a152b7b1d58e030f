"""OpenAI's Responses with the official client, against a real server."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.harness import Running

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_whole(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="default", input="Hello", max_output_tokens=5, temperature=0)
    assert answer.object == "response" and answer.status in ("completed", "incomplete")
    assert answer.output[0].type == "message" and isinstance(answer.output_text, str)
    assert answer.usage is not None and answer.usage.input_tokens_details.cached_tokens is not None


def test_a_stream_accumulates_to_the_whole(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "input": "Hello there", "max_output_tokens": 30, "temperature": 0}
    whole = client.responses.create(**asked)
    events = list(client.responses.create(stream=True, **asked))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    last: Any = events[-1]
    assert last.type == f"response.{whole.status}" and last.response.output_text == whole.output_text
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text


def test_a_call_streamed_through_the_clients_own_accumulator(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model="tiny", input="Weather?", tools=[TOOL], tool_choice="required", parallel_tool_calls=False,
        max_output_tokens=120,
    ) as stream:  # fmt: skip
        final = stream.get_final_response()
    (item,) = final.output
    assert item.type == "function_call" and json.loads(item.arguments)["city"] in ("Paris", "Rome")
    turn: Any = [
        {"role": "user", "content": "Weather?"},
        {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": item.arguments},
        {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"},
    ]
    more = client.responses.create(model="tiny", input=turn, tools=[TOOL], tool_choice="none", max_output_tokens=2)
    assert more.output[0].type == "message"


def test_a_schema(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    answer = client.responses.create(
        model="tiny", input="x", max_output_tokens=60, instructions="Be exact.",
        text={"format": {"type": "json_schema", "name": "x", "schema": schema}},
    )  # fmt: skip
    assert json.loads(answer.output_text)["n"] in (1, 2)


@pytest.mark.parametrize("change", [{"previous_response_id": "resp_1"}, {"truncation": "auto"}, {"input": []}])
def test_what_is_not_there_is_said(server: Running, change: dict[str, object]) -> None:
    response = server.post("/v1/responses", {"input": "x"} | change)
    assert response.status_code == 400 and response.json()["error"]["message"]
