"""`windowtax cache explain`: two bodies side by side, against the tokenizer; and what a running server kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from tests.server.harness import load_tiny_chat, save_tiny_chat, serving
from typer.testing import CliRunner, Result

from windowtax.base.errors import BadInput, UnknownName
from windowtax.cli import cache
from windowtax.engine.tokenizer import load_tokenizer
from windowtax.server.keys import make_keyring

HEADER = "x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch={};"
RULES = "Rule: tests before words. " * 12
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
Explain = Callable[..., Result]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_chat(tmp_path / "model")


@pytest.fixture
def explain(tmp_path: Path, model: Path) -> Explain:
    def run(one: Any, two: Any, *words: str, code: int = 0) -> Result:
        for name, body in (("a", one), ("b", two)):
            (tmp_path / f"{name}.json").write_text(body if isinstance(body, str) else json.dumps(body))
        names = [str(tmp_path / f"{name}.json") for name in "ab"]
        result = CliRunner().invoke(cache.app, ["explain", *names, "--model", str(model), *words])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def claude(cch: str, date: str) -> dict[str, Any]:
    blocks = [{"type": "text", "text": HEADER.format(cch)}, {"type": "text", "text": f"{RULES}\nToday is {date}.\nGo."}]
    return {"system": blocks, "tools": [TOOL], "messages": [{"role": "user", "content": "hey"}], "max_tokens": 5}


def test_anthropic_bodies_before_and_after_normalising(explain: Explain, model: Path) -> None:
    words = ("--price", "openai/gpt-5", "--json", "--normalize", "billing,date")
    found = json.loads(explain(claude("fa690", "2026-11-22"), claude("eb6c6", "2026-11-23"), *words).stdout)
    assert found["a"]["where"] == found["b"]["where"] == "system"
    assert found["before"].endswith("cch=") and (found["a"]["token"], found["b"]["token"]) == ("f", "e")
    assert found["shared_blocks"] == found["shared_tokens"] // 32 == found["shared_tokens"] // found["block_tokens"]
    behind = found["b"]["prompt_tokens"] - found["shared_tokens"]
    assert behind - 9 <= found["lost_tokens"] < behind, "all but the five of cch, one of the date, and the last"
    costs = [
        calc_price(
            Usage(input_tokens=found["b"]["prompt_tokens"], cache_read_tokens=tokens), "gpt-5", provider_id="openai"
        ).total_price
        for tokens in (found["shared_tokens"], found["shared_tokens"] + found["lost_tokens"])
    ]
    assert found["usd_lost"] == pytest.approx(float(costs[0] - costs[1]))
    after = found["normalized"]
    assert [one["kind"] for one in after["b"]["normalized"]] == ["billing", "date"]
    assert after["before"].endswith("day is 2026-11-2") and after["shared_tokens"] > 300
    assert after["usd_lost"] < found["usd_lost"]


def test_tokens_are_those_of_the_models_own_template(explain: Explain, model: Path) -> None:
    """The witness: the template written out by hand, through the tokenizer."""
    chats = [{"messages": [{"role": "user", "content": text}]} for text in ("same, then one", "same, then two")]
    found = json.loads(explain(*chats, "--json").stdout)
    tokenizer = load_tokenizer(model)
    ids = tokenizer.encode("<|im_start|>user\nsame, then ", add_special_tokens=False)
    assert found["shared_tokens"] == len(ids) and found["b"]["where"] == "messages[0] (user)"
    whole = tokenizer.encode("<|im_start|>user\nsame, then two<|im_end|>\n<|im_start|>assistant\n", False)
    assert found["b"]["prompt_tokens"] == len(whole) and found["lost_tokens"] == 0, "the template's marks are chance"


@pytest.mark.parametrize(
    ("one", "two", "where"),
    [
        ({"prompt": "A plain text, one"}, {"prompt": "A plain text, two"}, "the prompt"),
        ({"prompt": [1, 2, 3]}, {"prompt": [1, 2, 4]}, "the prompt"),
        ({"input": "Say one", "instructions": "x"}, {"input": "Say two", "instructions": "x"}, "input message 0 (user)"),  # noqa: E501
        ({"messages": [{"role": "user", "content": "x"}]}, {"messages": [{"role": "user", "content": "xy"}]},
         "messages[0] (user)"),
    ],
)  # fmt: skip
def test_bodies_of_every_endpoint(explain: Explain, one: Any, two: Any, where: str) -> None:
    assert json.loads(explain(one, two, "--json").stdout)["b"]["where"] == where


def test_the_text_shows_both_sides(explain: Explain) -> None:
    words = ("--normalize", "all")
    text = explain(claude("fa690", "2026-11-22"), claude("eb6c6", "2026-11-22"), *words).stdout
    assert "A      fa690;" in text and "B      eb6c6;" in text and "cch=" in text
    assert "billing: removed, from system:" in text and f"- {HEADER.format('eb6c6')}" in text
    assert "Both prompts are the same" in text and "list prices" in text


def test_what_is_no_body_is_refused(explain: Explain, tmp_path: Path) -> None:
    good = {"prompt": "x"}
    nobody = {"messages": [{"role": "nobody", "content": "x"}]}
    for bad in ("{", "[]", {"model": "x"}, {"messages": []}, {"messages": 5}, {"messages": [], "tools": 5}, nobody):
        assert isinstance(explain(good, bad, code=1).exception, BadInput)
    alone = CliRunner().invoke(cache.app, ["explain", str(tmp_path / "a.json")]).exception
    assert isinstance(alone, BadInput) and "Name two files" in str(alone)
    assert isinstance(CliRunner().invoke(cache.app, ["explain"]).exception, BadInput)
    gone = ["explain", "--last", "--url", "http://127.0.0.1:9"]
    assert isinstance(CliRunner().invoke(cache.app, gone).exception, BadInput)


def test_a_servers_request_is_explained_to_the_key_that_asked(tmp_path: Path) -> None:
    tiny = load_tiny_chat(tmp_path)
    with serving(tiny, window=1024, keyring=make_keyring(["sk-a", "sk-b"])) as server:

        def run(*words: str, key: str = "sk-a") -> Result:
            return CliRunner().invoke(cache.app, ["explain", *words, "--url", server.url, "--key", key])

        assert isinstance(run("--last").exception, UnknownName), "nothing was asked yet"
        for day in (22, 23):
            messages = [
                {"role": "system", "content": f"Today is 2026-11-{day}. {RULES}"},
                {"role": "user", "content": "?"},
            ]
            headers = {"Authorization": "Bearer sk-a", "X-Request-Id": f"day-{day}"}
            server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1}, headers=headers)
        said = run("--last")
        assert said.exit_code == 0 and "day-23 (chat)" in said.stdout and "messages[0] (system)" in said.stdout
        assert "kept   2. Rule" in said.stdout and "asked  3. Rule" in said.stdout and "estimated" in said.stdout
        assert json.loads(run("day-22", "--json").stdout)["reason"] == "empty"
        refused = run("day-23", key="sk-b")
        assert isinstance(refused.exception, UnknownName) and "day-23" in str(refused.exception)
        assert "API key" in str(run("--last", key="sk-wrong").exception)
