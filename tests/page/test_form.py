"""The form: read strictly, written back as a command line that means the same."""

import shlex

import pytest

from tests.page.asking import start
from windowtax.base.errors import BadInput
from windowtax.plan.page.form import NAMES, Form


def test_fields_are_read_as_the_command_line_reads_them():
    form = start().read(
        {
            "model": "gemma-3-27b",
            "context": " 100,000 ",
            "users": "1,024",
            "output_tokens": "1K",
            "cached_tokens": "0",
            "gpus": "",
            "usd_per_hour": "$2.5",
        }
    )
    assert (form.model, form.context, form.users, form.output_tokens) == ("gemma-3-27b", 100_000, 1024, 1024)
    assert (form.cached_tokens, form.gpus, form.usd_per_hour) == (0, None, 2.5)
    assert form.hardware == "h100-sxm"


def test_what_is_written_is_read_again():
    first = start()
    form = Form(
        model="gemma-3-27b",
        context=100_000,
        users=3,
        output_tokens=1000,
        cached_tokens=8192,
        hardware="l4",
        gpus=8,
        cache_dtype="int8",
        weights="fp8",
        chunk=512,
        usd_per_hour=0.25,
        rope="yarn:4",
        attention="full=sinks:4+window:4096",
        drafts=True,
        parallel="tp=4,dp=2",
        slo_ttft="2s",
        slo_tpot="50ms",
        api="anthropic/claude-opus-5",
        calls=2_500_000.0,
        utilisation=0.25,
    )
    assert first.read(form.values()) == form
    assert set(form.values()) == set(NAMES)


def test_the_command_line_names_every_field_that_is_not_a_default():
    form = Form(
        model="/tmp/my models/config.json",
        context=131_072,
        users=2,
        cached_tokens=4096,
        usd_per_hour=1.25,
        rope="yarn:4",
        drafts=True,
        api="openai/gpt-5.5",
        calls=1e6,
    )
    words = shlex.split(form.words())
    assert words[:3] == ["windowtax", "plan", "/tmp/my models/config.json"]
    words.remove("--drafts")
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options == {
        "--context": "128K",
        "--users": "2",
        "--cached-tokens": "4K",
        "--usd-per-hour": "1.25",
        "--rope": "yarn:4",
        "--api": "openai/gpt-5.5",
        "--calls": "1000000",
    }


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("context", "many", "many"),
        ("context", "0", "0"),
        ("context", "1e9", "1e9"),
        ("context", "32M", "33,554,432"),
        ("context", "128", "no room"),
        ("users", "0", "users"),
        ("users", "-1", "-1"),
        ("users", "1.5", "1.5"),
        ("users", "9999999999999999999999", "users"),
        ("output_tokens", "1M", "no room"),
        ("cached_tokens", "128K", "131,072"),
        ("gpus", "0", "accelerators"),
        ("usd_per_hour", "cheap", "cheap"),
        ("usd_per_hour", "nan", "nan"),
        ("usd_per_hour", "inf", "inf"),
        ("usd_per_hour", "-3", "-3"),
        ("chunk", "0", "0"),
        ("chunk", "1", "65,536"),
        ("model", "/etc/passwd", "/etc/passwd"),
        ("hardware", "abacus", "abacus"),
        ("speed", "9", "speed"),
        ("drafts", "perhaps", "perhaps"),
        ("calls", "lots", "lots"),
        ("calls", "1e13", "1e13"),
        ("utilisation", "2", "'2'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_value(field, text, says):
    with pytest.raises(BadInput) as refused:
        start().read({field: text})
    assert says in str(refused.value)


def test_a_model_given_as_a_file_stays_a_choice(tmp_path):
    path = str(tmp_path / "config.json")
    first = start(model=path)
    assert first.read({"context": "64K"}).model == path
    assert next(iter(first.models)) == path
