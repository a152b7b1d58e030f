"""What dashboards read grows while things happen, and falls when they are over."""

import threading

import httpx

from tests.server.harness import Running, until

PATH = "/v1/completions"


def test_tokens_are_counted_while_they_come(server: Running) -> None:
    def count(name: str) -> float:
        return value(server, f"vllm:{name}_total")

    before = count("generation_tokens"), count("prompt_tokens")
    body = {"prompt": "x" * 50, "max_tokens": 450, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{server.url}{PATH}", json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        until(lambda: count("generation_tokens") > before[0] + 2)
        midway = count("generation_tokens"), count("prompt_tokens")
        running = server.served.service.num_running
        assert len([line for line in lines if line.startswith("data: {")]) > 1
    assert running == 1 and midway[0] < before[0] + 450
    assert midway[1] == before[1] + 50, "its prompt is read"
    assert (count("generation_tokens"), count("prompt_tokens")) == (before[0] + 450, before[1] + 50)


def test_blocks_that_are_only_kept_are_not_in_use(server: Running) -> None:
    """Else an idle server would look full, as soon as its cache is."""
    server.post(PATH, {"prompt": "u" * 300, "max_tokens": 1})
    until(lambda: value(server, "vllm:kv_cache_usage_perc") == 0)
    assert value(server, "windowtax:kv_held_bytes") == 0 < value(server, "windowtax:kv_kept_bytes")


def test_an_errand_that_nobody_waits_for_harms_nothing(server: Running) -> None:
    """A scrape does not wait for a long step; what it asked the engine's thread for comes too late then."""
    service, doors = server.served.service, threading.Event()
    service.do(lambda _: doors.wait(30))
    late = service.do(lambda _: 1)
    assert late.cancel()
    doors.set()
    assert service.do(lambda _: 2).result(30) == 2 and service.trouble is None


def value(server: Running, name: str) -> float:
    """One sample of the metrics page."""
    lines = server.client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))
