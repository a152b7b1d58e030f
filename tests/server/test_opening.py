"""The port is open while the model loads, and says so."""

import asyncio
import socket
import threading

import httpx
import openai
import pytest

from windowtax.server.opening import opening
from windowtax.server.run import bind


def test_everything_is_503_while_the_model_loads() -> None:
    listening = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with opening(listening):
        for path in ("/health", "/ready", "/", "/v1/models"):
            answer = httpx.get(f"{url}{path}")
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
            assert answer.json()["error"]["code"] == "model_loading"
        told = httpx.post(f"{url}/v1/messages", json={}).json()
        assert told["type"] == "error" and told["error"]["type"] == "overloaded_error"
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
            pytest.raises(openai.InternalServerError, match="loading"),
        ):
            client.chat.completions.create(model="default", messages=[{"role": "user", "content": "x"}])
    listening.close()


def test_who_connects_between_the_two_servers_is_not_refused() -> None:
    """The socket goes on listening, so that the next server takes what has come meanwhile."""
    listening = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with opening(listening):
        assert httpx.get(f"{url}/health").status_code == 503
    answers: list[int] = []
    early = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/health", timeout=30).status_code))
    early.start()
    early.join(0.2)
    assert early.is_alive(), "it waits"
    with opening(listening):
        early.join(30)
    assert answers == [503]
    listening.close()


def test_an_error_while_loading_ends_it() -> None:
    listening = bind("127.0.0.1", 0)
    with pytest.raises(ZeroDivisionError), opening(listening):
        _ = 1 // 0
    assert not any(thread.name == "opening" for thread in threading.enumerate())
    listening.close()


def test_small_answers_do_not_wait_for_acknowledgements() -> None:
    """Nagle's algorithm is off on what the server accepts: with it, every answer in two parts takes 40 ms more."""
    found: list[int] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        found.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def meet() -> None:
        listening = bind("127.0.0.1", 0)
        address = listening.getsockname()
        async with await asyncio.start_server(accept, sock=listening):
            reader, writer = await asyncio.open_connection(*address)
            await reader.read()
            writer.close()

    asyncio.run(meet())
    assert found == [1]
