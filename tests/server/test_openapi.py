"""The description of the API, and the small endpoints that clients look for."""

from typing import Any

import pytest

from tests.server.harness import Running, serving
from windowtax.engine.load import LoadedModel
from windowtax.server.keys import make_keyring

CHAT = [{"role": "user", "content": "hello"}]


def test_errors_and_streams_are_described_as_they_are(server: Running) -> None:
    found = server.client.get("/openapi.json").json()
    for path, methods in found["paths"].items():
        for operation in methods.values():
            assert "422" not in operation["responses"] and {"4XX", "5XX"} <= set(operation["responses"]), path
    chat = found["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(chat["200"]["content"]) == {"application/json", "text/event-stream"}
    error: Any = server.post("/v1/chat/completions", {}).json()["error"]
    described = found["components"]["schemas"]["Error"]["properties"]["error"]
    assert set(described["required"]) == set(error)
    anthropic = server.post("/v1/messages", {}).json()
    assert set(found["components"]["schemas"]["AnthropicError"]["required"]) == set(anthropic)
    assert "securitySchemes" not in found["components"], "nobody needs a key here"


def test_keys_are_described_where_they_are_needed(model: LoadedModel) -> None:
    with serving(model, keyring=make_keyring(["sk-1"])) as server:
        found = server.client.get("/openapi.json", headers={"Authorization": "Bearer sk-1"}).json()
    assert {"bearer": []} in found["security"] and found["components"]["securitySchemes"]["x-api-key"]["in"] == "header"


@pytest.mark.parametrize(("path", "allowed"), [("/v1/cache", {"GET", "DELETE"}), ("/v1/plan", {"GET", "POST"})])
def test_the_wrong_method_is_told_all_right_ones(server: Running, path: str, allowed: set[str]) -> None:
    response = server.client.put(path)
    assert response.status_code == 405 and set(response.headers["allow"].split(", ")) == allowed


def test_the_template_applied(server: Running) -> None:
    text = server.post("/apply-template", {"messages": CHAT}).json()["prompt"]
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    tokens = server.post("/tokenize", {"messages": CHAT}).json()["tokens"]
    assert server.post("/detokenize", {"tokens": tokens}).json()["prompt"] == text
    assert server.post("/apply-template", {"messages": []}).status_code == 400


def test_what_lm_eval_asks_of_the_tokenizer(server: Running) -> None:
    found = server.client.get("/tokenizer_info").json()
    assert found["eos_token"] == "<|im_end|>" and "im_start" in found["chat_template"]
    assert found["model_max_length"] == 512
