"""A server with a tiny random chat model over bytes: one character is one token."""

from collections.abc import Iterator

import pytest

from tests.page.asking import planner
from tests.server.harness import Running, load_tiny_chat, serving
from windowtax.engine.load import LoadedModel

WINDOW = 4096


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny_chat(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def server(model: LoadedModel) -> Iterator[Running]:
    with serving(model, window=WINDOW, windows=3) as running:
        running.served.planner = planner()
        yield running
