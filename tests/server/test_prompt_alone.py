"""max_tokens 0: the prompt is computed, and scored where that is asked for, and nothing is written behind it."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.server.harness import Running, load_tiny_chat, serving

PATH = "/v1/completions"
TEXT = "The standing charge of a window."


def test_the_scores_are_those_of_transformers(tmp_path: Path) -> None:
    with serving(load_tiny_chat(tmp_path)) as server:
        body = {"prompt": TEXT, "max_tokens": 0, "echo": True, "logprobs": 3}
        answer = server.post(PATH, body).json()
        ids = server.post("/tokenize", {"prompt": TEXT}).json()["tokens"]
    choice, usage = answer["choices"][0], answer["usage"]
    assert choice["text"] == TEXT and choice["finish_reason"] == "length"
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(ids), 0)
    scores = choice["logprobs"]["token_logprobs"]
    assert scores[0] is None and len(scores) == len(ids)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(tmp_path)(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [logits[place, token].item() for place, token in enumerate(ids[1:])]
    assert scores[1:] == pytest.approx(expected, abs=1e-4)
    likeliest = logits[:-1].max(-1).values.tolist()
    assert [max(top.values()) for top in choice["logprobs"]["top_logprobs"][1:]] == pytest.approx(likeliest, abs=1e-4)


def test_a_prompt_as_long_as_the_window(server: Running) -> None:
    answer = server.post(PATH, {"prompt": "z" * 512, "max_tokens": 0})
    assert answer.status_code == 200 and answer.json()["usage"]["prompt_tokens"] == 512
    assert server.post(PATH, {"prompt": "z" * 513, "max_tokens": 0}).status_code == 400
    error = server.post(PATH, {"prompt": "z" * 512, "max_tokens": 1}).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


def test_it_warms_the_cache(server: Running) -> None:
    prompt = "w" * 200
    first = server.post(PATH, {"prompt": prompt, "max_tokens": 0}).json()
    assert first["choices"][0]["text"] == "" and first["choices"][0]["logprobs"] is None
    again = server.post(PATH, {"prompt": prompt, "max_tokens": 1}).json()
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 176
    server.wait_idle()
    server.engine.cache.check()


def test_streamed(server: Running) -> None:
    body = {"prompt": ["abc", "defg"], "max_tokens": 0, "echo": True, "logprobs": 1, "stream": True}
    chunks = [chunk["choices"][0] for chunk in server.chunks(PATH, body)]
    texts = {index: "".join(chunk["text"] for chunk in chunks if chunk["index"] == index) for index in (0, 1)}
    assert texts == {0: "abc", 1: "defg"}
    assert [chunk["finish_reason"] for chunk in chunks if chunk["finish_reason"]] == ["length", "length"]


def test_prompt_logprobs_as_vllm_gives_them(server: Running) -> None:
    """Per token, by token id: the token itself and the likeliest ones, with their ranks; the same as echo says."""
    body = {"prompt": "abcdef", "max_tokens": 1, "temperature": 0}
    echoed = server.post("/v1/completions", body | {"echo": True, "logprobs": 0}).json()["choices"][0]["logprobs"]
    ids = server.post("/tokenize", {"prompt": "abcdef"}).json()["tokens"]
    first, *rest = server.post("/v1/completions", body | {"prompt_logprobs": 3}).json()["choices"][0]["prompt_logprobs"]
    assert first is None and len(rest) == len(ids) - 1
    for token, given, logprob in zip(ids[1:], rest, echoed["token_logprobs"][1:], strict=False):
        own = given[str(token)]
        assert own["logprob"] == pytest.approx(logprob, abs=1e-5)
        assert sorted(one["rank"] for one in given.values() if one["rank"] <= 3) == [1, 2, 3]
        assert own["rank"] <= 3 or len(given) == 4
    chat = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 1, "prompt_logprobs": 0}
    answer = server.post("/v1/chat/completions", chat).json()
    assert len(answer["prompt_logprobs"]) == answer["usage"]["prompt_tokens"]
    refused = server.post("/v1/chat/completions", chat | {"stream": True})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "prompt_logprobs"
