"""The load generator sees what OpenAI's own client sees, however the bytes of a stream are cut."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from benchmarks.serving import load
from benchmarks.serving.texts import PIECE_TOKENS, prompt
from openai import OpenAI

from tests.server.harness import Running, load_tiny_chat, serving

STREAM = (
    b": keep-alive\n\n"
    b'data: {"choices": [{"text": "a\\n"}]}\r\n\r\n'
    b'event: x\ndata: {"choices": [], "usage": {"completion_tokens": 1}}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(load_tiny_chat(tmp_path_factory.mktemp("tiny"))) as running:
        yield running


@pytest.mark.parametrize("size", [1, 7, len(STREAM)])
def test_events_of_a_cut_stream(size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(STREAM), size):
            yield STREAM[at : at + size]

    async def collect() -> list[load.Json]:
        return [event async for event in load.events(chunks())]

    assert asyncio.run(collect()) == [
        {"choices": [{"text": "a\n"}]},
        {"choices": [], "usage": {"completion_tokens": 1}},
    ]


def test_answers_are_those_of_openais_client(server: Running) -> None:
    words = "the shared beginning of three prompts, and then "
    requests = [load.body("default", words + str(number), 6) for number in range(3)]

    async def run() -> tuple[list[load.Answer], float]:
        async with load.client(server.url) as http:
            return await load.closed_loop(http, requests, at_once=2)

    answers, wall_s = asyncio.run(run())
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none")
    expected = [
        client.completions.create(
            model="default",
            prompt=request["prompt"],
            max_tokens=6,
            temperature=0,
            extra_body={"ignore_eos": True, "cache_salt": "another's"},
        )
        for request in requests
    ]
    assert sorted(answer.text for answer in answers) == sorted(one.choices[0].text for one in expected)
    assert all(answer.sent < answer.first <= answer.last < answer.sent + wall_s for answer in answers)
    found = load.summary(answers, wall_s)
    prompt_tokens = sum(one.usage.prompt_tokens for one in expected if one.usage)
    assert (found["requests"], found["output_tokens"], found["prompt_tokens"]) == (3, 18, prompt_tokens)
    assert found["output_tokens_per_s"] == pytest.approx(18 / wall_s)
    assert found["total_tokens_per_s"] == pytest.approx((18 + prompt_tokens) / wall_s)
    assert found["cached_tokens"]


def test_what_is_refused_is_told(server: Running) -> None:
    async def run() -> None:
        async with load.client(server.url) as http:
            await load.ask(http, load.body("default", "too long " * 1000, 6))

    with pytest.raises(RuntimeError, match="context_length_exceeded"):
        asyncio.run(run())


def test_latencies_are_per_client() -> None:
    answers = [
        load.Answer(0.0, 1.0, 3.0, 10, 5, None, ""),
        load.Answer(1.0, 4.0, 4.0, 10, 1, None, ""),
    ]
    found = load.summary(answers, 4.0)
    assert (found["ttft_s"], found["ttft_worst_s"], found["tpot_s"]) == (2.0, 3.0, 0.5)
    assert found["cached_tokens"] is None


def test_prompts_share_nothing_but_their_seed() -> None:
    pieces = [f"piece {number} " for number in range(100)]
    one = prompt(pieces, "one", 10 * PIECE_TOKENS)
    assert one == prompt(pieces, "one", 10 * PIECE_TOKENS)
    assert one.count("piece") == 10
    assert one[:8] != prompt(pieces, "two", 10 * PIECE_TOKENS)[:8]


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    from benchmarks.serving.servers import Server, running

    one = Server(["python3", "-c", "raise SystemExit('no such weights')"], 1)
    with pytest.raises(RuntimeError, match="no such weights"), running(one, tmp_path / "log"):
        raise AssertionError("it runs")
