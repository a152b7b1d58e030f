"""The ledger says what the answers said, and `windowtax bill` sums it."""

import json
import logging
import sqlite3
import threading
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.server.harness import serving
from windowtax.base.errors import BadInput
from windowtax.cli.bill import bill
from windowtax.engine.load import LoadedModel
from windowtax.server.keys import make_keyring
from windowtax.server.ledger import Ledger, sums

app = typer.Typer()
app.command()(bill)


def test_the_ledger_sums_to_the_answers(model: LoadedModel, tmp_path: Path) -> None:
    keys, path = tmp_path / "keys.toml", tmp_path / "ledger.sqlite"
    keys.write_text('[[key]]\nname = "a"\nkey = "ka"\n[[key]]\nname = "b"\nkey = "kb"\n')
    prompt = output = cached = 0
    usd = 0.0
    with serving(model, ledger=path, keyring=make_keyring(file=keys)) as server:
        for key, text in (("ka", "one " * 30), ("ka", "one " * 30), ("kb", "two " * 30)):
            body = {"messages": [{"role": "user", "content": text}], "max_tokens": 3, "ignore_eos": True}
            usage = server.post("/v1/chat/completions", body, headers={"x-api-key": key}).json()["usage"]
            prompt, output = prompt + usage["prompt_tokens"], output + usage["completion_tokens"]
            cached += usage["prompt_tokens_details"]["cached_tokens"]
            usd += usage["windowtax"]["usd"]
    (day,) = sums(path, "day")
    assert (day.calls, day.prompt_tokens, day.output_tokens, day.cached_tokens) == (3, prompt, output, cached)
    assert day.usd == pytest.approx(usd)
    by_key = {one.group: one.calls for one in sums(path, "key")}
    assert by_key == {"a": 2, "b": 1}
    prefixes = {one.words.split()[1]: one.calls for one in sums(path, "prefix")}
    assert sorted(prefixes.values()) == [1, 2]
    assert [one.calls for one in sums(path, "day", key="b")] == [1]
    assert sums(path, "outcome")[0].group == "length"

    result = CliRunner().invoke(app, ["--ledger", str(path), "--by", "key", "--json"])
    assert result.exit_code == 0, result.output
    groups = json.loads(result.output)["groups"]
    assert {group["group"]: group["calls"] for group in groups} == by_key
    shown = CliRunner().invoke(app, ["--ledger", str(path), "--by", "prefix"])
    assert shown.exit_code == 0 and "calls" in shown.output


def test_what_cannot_be_written_now_is_written_later(model: LoadedModel, tmp_path: Path) -> None:
    path, told = tmp_path / "ledger.sqlite", threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: told.set()
    logger = logging.getLogger("windowtax.ledger")
    logger.addHandler(handler)
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    try:
        with serving(model, ledger=path) as server:
            other = sqlite3.connect(path)
            other.execute("ALTER TABLE call RENAME TO elsewhere")
            assert server.post("/v1/chat/completions", body).status_code == 200
            assert told.wait(30), "a ledger that cannot be written says so"
            other.execute("ALTER TABLE elsewhere RENAME TO call")
            other.close()
            assert server.post("/v1/chat/completions", body).status_code == 200
    finally:
        logger.removeHandler(handler)
    assert sums(path, "day")[0].calls == 2


def test_files_that_are_no_ledgers(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no ledger at"):
        sums(tmp_path / "nothing", "day")
    wrong = tmp_path / "wrong"
    wrong.write_text("this is not a database, but long enough to be taken for one" * 20)
    with pytest.raises(BadInput, match="is no ledger"):
        sums(wrong, "day")
    with pytest.raises(BadInput, match="is no ledger"):
        Ledger(wrong)
    with pytest.raises(BadInput, match="cannot be summed"):
        sums(wrong, "mood")


def test_a_ledger_is_there_after_it_was_closed_and_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        with Ledger(tmp_path / "x.sqlite"):
            pass
    assert sums(tmp_path / "x.sqlite", "day") == []
