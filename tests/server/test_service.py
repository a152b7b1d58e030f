"""The service around an engine: every request gets an answer, whatever happens."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.harness import greedy, make_engine
from tests.server.harness import until
from windowtax.base.errors import BadInput
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel
from windowtax.engine.news import Box, Failed, Finished, News, Progress, Text
from windowtax.engine.request import FinishReason
from windowtax.engine.service import EngineService, Overloaded, ServiceLimits, ShuttingDown, StepFailed, TookTooLong

PROMPT = [3, 4, 5]


@pytest.fixture
def engine(model: LoadedModel) -> Engine:
    return make_engine(model, 256, windows=4)


@pytest.fixture
def service(engine: Engine) -> Iterator[EngineService]:
    made = EngineService(engine, ServiceLimits(max_waiting=8))
    yield made
    made.close()
    made.join()


def last_of(box: Box) -> Finished | Failed:
    while True:
        news = box.get(30)
        assert news is not None, "nothing was heard for 30 s"
        if isinstance(news, Finished | Failed):
            return news


def test_tokens_as_the_engine_alone_gives_them(service: EngineService, model: LoadedModel) -> None:
    alone = make_engine(model, 256)
    expected = alone.add(PROMPT, greedy(10))
    while alone.has_work:
        alone.step()
    service.start()
    box = Box()
    service.submit(PROMPT, greedy(10), box=box)
    heard: list[News] = []
    while not heard or not isinstance(heard[-1], Finished):
        news = box.get(30)
        assert news is not None
        heard.append(news)
    assert [token for news in heard if isinstance(news, Text) for token in news.token_ids] == expected.output_ids
    assert "".join(news.text for news in heard if isinstance(news, Text)) == expected.text


def test_a_slow_reader_loses_nothing_and_the_box_stays_small(service: EngineService) -> None:
    service.start()
    box = Box(size=8)
    boxes = [box] * 3
    for index, one in enumerate(boxes):
        service.submit(PROMPT, greedy(100), box=one, index=index)
    until(lambda: not service.engine.has_work and not service.num_waiting)
    assert len(box) <= 8 + 3
    counts = {0: 0, 1: 0, 2: 0}
    while (news := box.get(0)) is not None:
        if isinstance(news, Text):
            counts[news.index] += len(news.token_ids)
    assert counts == {0: 100, 1: 100, 2: 100}


def test_what_the_engine_refuses_arrives(service: EngineService) -> None:
    service.start()
    box = Box()
    service.submit(PROMPT, greedy(1000), box=box)
    failed = last_of(box)
    assert isinstance(failed, Failed) and isinstance(failed.error, BadInput)


def test_a_full_queue_says_when_to_come_back(service: EngineService) -> None:
    for _ in range(8):  # the thread is not running yet, so all of them wait
        service.submit(PROMPT, greedy(2), box=Box())
    with pytest.raises(Overloaded) as caught:
        service.submit(PROMPT, greedy(2), box=Box())
    assert caught.value.retry_after_s >= 1
    service.start()
    until(lambda: service.num_waiting == 0)
    service.submit(PROMPT, greedy(2), box=Box())


def test_cancelling_frees_the_blocks(service: EngineService) -> None:
    service.start()
    box = Box()
    ticket = service.submit(PROMPT, greedy(250), box=box)
    until(lambda: len(box) > 2)
    service.cancel(ticket)
    ended = last_of(box)
    assert isinstance(ended, Finished) and ended.reason is FinishReason.CANCELLED
    until(lambda: service.engine.cache.held_bytes == 0)
    service.cancel(ticket)  # once more is no error


def test_a_deadline(service: EngineService) -> None:
    service.start()
    box = Box()
    service.submit(PROMPT, greedy(250), box=box, timeout_s=1e-6)
    failed = last_of(box)
    assert isinstance(failed, Failed) and isinstance(failed.error, TookTooLong)
    until(lambda: service.engine.cache.held_bytes == 0)


def test_closing_drains_then_ends_the_rest(service: EngineService) -> None:
    service.start()
    short, long = Box(), Box()
    service.submit(PROMPT, greedy(3), box=short)
    service.close(drain_s=30)
    with pytest.raises(ShuttingDown):
        service.submit(PROMPT, greedy(3), box=long)
    assert isinstance(last_of(short), Finished), "what runs may finish"
    service.join()


def test_closing_without_patience(service: EngineService) -> None:
    box = Box()
    service.submit(PROMPT, greedy(250), box=box)
    service.start()
    service.close(0)
    service.join()
    ended = last_of(box)
    assert isinstance(ended, Failed) and isinstance(ended.error, ShuttingDown)
    assert service.engine.cache.held_bytes == 0


def breaking(engine: Engine, poisoned: list[int]) -> None:
    """Makes every step raise that computes a sequence with this prompt."""
    choose = engine.runner.choose

    def poisoned_choose(step: Any) -> Any:
        if any(chunk.sequence.token_ids[: len(poisoned)] == poisoned for chunk in step.chunks):
            raise RuntimeError("a made-up kernel fault")
        return choose(step)

    engine.runner.choose = poisoned_choose  # pyright: ignore[reportAttributeAccessIssue]


def test_a_failing_step_ends_only_the_guilty(service: EngineService, model: LoadedModel) -> None:
    alone = make_engine(model, 256)
    expected = alone.add(PROMPT, greedy(20))
    while alone.has_work:
        alone.step()
    breaking(service.engine, [9, 9, 9])
    good, bad = Box(), Box()
    service.submit(PROMPT, greedy(20), box=good)
    service.submit([9, 9, 9], greedy(20), box=bad)
    service.submit(PROMPT, greedy(20), box=good, index=1)
    service.start()
    failed = last_of(bad)
    assert isinstance(failed, Failed) and isinstance(failed.error, StepFailed)
    assert "made-up kernel fault" in failed.error.message
    for _ in range(2):
        ended = last_of(good)
        assert isinstance(ended, Finished) and ended.request.output_ids == expected.output_ids
    assert service.trouble is None
    until(lambda: service.engine.cache.held_bytes == 0)
    service.engine.cache.check()


def test_an_engine_beyond_repair_says_so_to_everybody(service: EngineService) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("made up")

    service.engine.step = broken  # type: ignore[method-assign]
    service.engine.cancel = broken  # type: ignore[method-assign]
    box = Box()
    service.submit(PROMPT, greedy(5), box=box)
    service.submit(PROMPT, greedy(5), box=box, index=1)
    service.start()
    assert all(isinstance(last_of(box), Failed) for _ in range(2))
    service.join()
    with pytest.raises(StepFailed):
        service.submit(PROMPT, greedy(5), box=box)


def test_errands_run_in_the_engines_thread(service: EngineService) -> None:
    service.start()
    assert service.do(lambda engine: threading.current_thread().name).result(10) == "engine"
    with pytest.raises(ZeroDivisionError):
        service.do(lambda engine: 1 // 0).result(10)


def test_progress_counts_up_to_the_prompt(service: EngineService) -> None:
    service.start()
    box = Box()
    service.submit([3 + n % 200 for n in range(200)], greedy(1), box=box)
    heard: list[int] = []
    while not isinstance(news := box.get(30), Finished):
        if isinstance(news, Progress):
            heard.append(news.num_computed_tokens)
    assert heard == [64, 128, 192]
