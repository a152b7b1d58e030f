"""Calls are read alike however the text is cut into pieces, and no text is lost."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windowtax.server.chat import gathered
from windowtax.server.toolcalls.deltas import Reader
from windowtax.server.toolcalls.formats import format_of, reader_of

TRICKY = '{"a": "}]\\"{", "b": [1, {}]}'
HERMES = [
    (f'<tool_call>\n{{"name": "f", "arguments": {TRICKY}}}\n</tool_call>', "", [("f", TRICKY)]),
    (
        'Let me see.\n<tool_call>{"name": "f", "arguments": {}}</tool_call>\n'
        '<tool_call>{"name": "g", "arguments": {"x": 1}}</tool_call>',
        "Let me see.",
        [("f", "{}"), ("g", '{"x": 1}')],
    ),
    ('<tool_call>{"arguments": {"x": 1}, "name": "g"}</tool_call>', "", [("g", '{"x": 1}')]),
    ('<tool_call>{"name": "g", "arguments": "{\\"x\\": 1}"}</tool_call> done', " done", [("g", '{"x": 1}')]),
    ("a <tool_call> b", "a<tool_call> b", []),
    ("no < tool_cal here <tool", "no < tool_cal here <tool", []),
    ('<tool_call>{"broken": ', '<tool_call>{"broken": ', []),
]
LLAMA = [
    ('{"name": "f", "parameters": {"a": 1}}', "", [("f", '{"a": 1}')]),
    (
        '<|python_tag|>{"name": "f", "parameters": {}}; {"name": "g", "parameters": {"b": "x"}}',
        "",
        [("f", "{}"), ("g", '{"b": "x"}')],
    ),
    ("Just {text}.", "Just {text}.", []),
    ('{"not": "a call"}', '{"not": "a call"}', []),
]
CASES = [("hermes", *case) for case in HERMES] + [("llama", *case) for case in LLAMA]


def read(reader: Reader, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    deltas = [delta for piece in pieces for delta in reader.push(piece)] + reader.finish()
    text, calls = gathered(deltas)
    return text, [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


@pytest.mark.parametrize(("form", "text", "said", "calls"), CASES)
def test_whole_and_character_by_character(form: str, text: str, said: str, calls: list[tuple[str, str]]) -> None:
    assert read(reader_of(form), [text]) == (said, calls)
    assert read(reader_of(form), list(text)) == (said, calls)
    for _, arguments in calls:
        json.loads(arguments)


@settings(deadline=None)
@given(st.data(), st.sampled_from(CASES))
def test_any_cut(data: st.DataObject, case: tuple[str, str, str, list[tuple[str, str]]]) -> None:
    form, text, said, calls = case
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(reader_of(form), pieces) == (said, calls)


SCRAPS = ["<tool_call>", "</tool_call>", '{"name": "f", ', '"arguments": ', '"parameters": ', *'{}[]"\\ x;']


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["hermes", "llama"]), st.lists(st.sampled_from(SCRAPS)))
def test_whatever_a_model_writes_is_read(form: str, pieces: list[str]) -> None:
    """No exception, and the same however it comes."""
    assert read(reader_of(form), pieces) == read(reader_of(form), list("".join(pieces)))


def test_arguments_stream_before_the_call_is_complete() -> None:
    reader = reader_of("hermes")
    _, calls = gathered(reader.push('<tool_call>{"name": "f", "arguments": {"text": "half of'))
    assert calls[0]["function"]["arguments"] == '{"text": "half of'


def test_formats_are_told_by_templates() -> None:
    assert format_of(None) == format_of("{{ messages }}") == "hermes"
    assert format_of("... <tool_call> ...") == "hermes"
    assert format_of('Respond in the format {"name": function name, "parameters": dictionary}') == "llama"
