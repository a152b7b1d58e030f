"""One tiny model and one server for all tests that do not change it."""

from collections.abc import Iterator

import pytest

from tests.server.harness import Running, load_tiny_chat, serving
from windowtax.engine.load import LoadedModel


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny_chat(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def server(model: LoadedModel) -> Iterator[Running]:
    with serving(model) as running:
        yield running
