"""Text completions: what guidellm, lm-eval and old clients send."""

from collections.abc import Iterator

import openai
import pytest

from tests.server.harness import Running

PATH = "/v1/completions"


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_batches_of_texts_and_token_ids(server: Running, client: openai.OpenAI) -> None:
    ids = server.post("/tokenize", {"prompt": "two"}).json()["tokens"]
    answer = client.completions.create(
        model="tiny", prompt=["one", "two"], n=2, max_tokens=3, temperature=0, extra_body={"ignore_eos": True}
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == answer.choices[1].text
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 12)
    same = client.completions.create(
        model="tiny", prompt=[ids], max_tokens=3, temperature=0, extra_body={"ignore_eos": True}
    )
    assert same.choices[0].text == answer.choices[2].text


def test_echo_with_logprobs_of_the_prompt(server: Running) -> None:
    """The way lm-eval scores a continuation."""
    body = {"prompt": "abcdef", "max_tokens": 1, "temperature": 0, "logprobs": 2, "echo": True, "ignore_eos": True}
    choice = server.post(PATH, body).json()["choices"][0]
    logprobs = choice["logprobs"]
    assert choice["text"].startswith("abcdef")
    assert logprobs["tokens"][:6] == list("abcdef") and logprobs["text_offset"][:7] == [0, 1, 2, 3, 4, 5, 6]
    assert logprobs["token_logprobs"][0] is None and len(logprobs["token_logprobs"]) == 7
    assert all(value <= 0 for value in logprobs["token_logprobs"][1:])
    # The score of "f" after "abcde" is what generating it would have shown.
    bias = {str(server.post("/tokenize", {"prompt": "f"}).json()["tokens"][0]): 100}
    forced = server.post(PATH, body | {"prompt": "abcde", "echo": False, "logit_bias": bias}).json()["choices"][0]
    assert forced["text"] == "f"
    assert forced["logprobs"]["token_logprobs"][0] == pytest.approx(logprobs["token_logprobs"][5], abs=1e-4)


def test_a_streamed_echo_is_the_whole_one(server: Running) -> None:
    body = {"prompt": "abc", "max_tokens": 4, "temperature": 0, "logprobs": 1, "echo": True, "ignore_eos": True}
    whole = server.post(PATH, body).json()["choices"][0]
    chunks = server.chunks(PATH, body | {"stream": True})
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert [token for part in parts for token in part["tokens"]] == whole["logprobs"]["tokens"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_the_default_is_sixteen_tokens(server: Running) -> None:
    assert server.post(PATH, {"prompt": "x", "ignore_eos": True}).json()["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    "change",
    [{"prompt": []}, {"prompt": [[]]}, {"prompt": [99_999]}, {"prompt": [-1]}, {"prompt": ""}, {"suffix": "x"},
     {"best_of": 3}, {"max_tokens": -1}, {"prompt": [1, "x"]}],
)  # fmt: skip
def test_refusals(server: Running, change: dict[str, object]) -> None:
    response = server.post(PATH, {"prompt": "x", "max_tokens": 1} | change)
    assert response.status_code == 400 and response.json()["error"]["message"]


def test_tokens_there_and_back(server: Running) -> None:
    text = "Grüße, 世界 <|im_end|>\n"
    found = server.post("/tokenize", {"prompt": text, "return_token_strs": True}).json()
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert found["max_model_len"] == 512
    assert server.post("/detokenize", {"tokens": found["tokens"]}).json()["prompt"] == text
    assert server.post("/detokenize", {"tokens": [100_000]}).status_code == 400
    assert server.post("/tokenize", {}).status_code == 400
