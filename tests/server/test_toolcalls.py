"""Calls are read alike however the text is cut into pieces, and no text is lost."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windowtax.base.errors import BadInput
from windowtax.server.chat import gathered
from windowtax.server.toolcalls.deltas import Reader
from windowtax.server.toolcalls.formats import READERS, check_parser, format_of, reader_of

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
PYTHONIC = [
    (r'[f(a=1, b="x](\""), g()]', "", [("f", r'{"a": 1, "b": "x](\""}'), ("g", "{}")]),
    ("  [f(a=[1, 2.5], b={'k': None, 'l': true})]\n", "", [("f", '{"a": [1, 2.5], "b": {"k": null, "l": true}}')]),
    ("I look.\n```tool_code\n[find(text='Ö', n=-3)]\n```", "I look.", [("find", '{"text": "Ö", "n": -3}')]),
    ("```tool_code\na.b(x=True)\nc()", "", [("a.b", '{"x": true}'), ("c", "{}")]),
    ("[1, 2, 3]", "[1, 2, 3]", []),
    ("[f(a=g())]", "[f(a=g())]", []),
    ("[f(1)]", "[f(1)]", []),
    ("[f(a=1", "[f(a=1", []),
    ("```tool_code\nx = 1\n```", "```tool_code\nx = 1\n```", []),
    ("```python\nf(a=1)\n```", "```python\nf(a=1)\n```", []),
]
FUNCTION_GEMMA = [
    (
        "<start_function_call>call:weather{city:<escape>Rome, {Italy}<escape>,days:3}<end_function_call>",
        "",
        [("weather", '{"city": "Rome, {Italy}", "days": 3}')],
    ),
    ("Yes.\n<start_function_call>call:f{}<end_function_call>", "Yes.", [("f", "{}")]),
    ("<start_function_call>call f<end_function_call>", "<start_function_call>call f<end_function_call>", []),
]
GEMMA4 = [
    (
        '<|tool_call>call:f{a:<|"|>x: "y"<|"|>,b:{c:[1,true,null],d:word}}<tool_call|><|tool_call>call:g{}<tool_call|>',
        "",
        [("f", '{"a": "x: \\"y\\"", "b": {"c": [1, true, null], "d": "word"}}'), ("g", "{}")],
    ),
    ('<|tool_call>call:f{a:<|"|>cut', '<|tool_call>call:f{a:<|"|>cut', []),
    ("<|tool_call>call:f{a:NaN}<tool_call|>", "", [("f", '{"a": "NaN"}')]),
]
CASES = [("hermes", *case) for case in HERMES] + [("llama3_json", *case) for case in LLAMA]
CASES += [("pythonic", *case) for case in PYTHONIC] + [("functiongemma", *case) for case in FUNCTION_GEMMA]
CASES += [("gemma4", *case) for case in GEMMA4]


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


SCRAPS = [
    "<tool_call>",
    "</tool_call>",
    '{"name": "f", ',
    '"arguments": ',
    '"parameters": ',
    *'{}[]"\\ x;(=):,',
    "```tool_code",
    "```",
    "f(a=1)",
    "<|tool_call>call:f",
    "<tool_call|>",
    '<|"|>',
]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(READERS)), st.lists(st.sampled_from(SCRAPS)))
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
    assert format_of("... <|tool_call>call: ...") == "gemma4"
    assert format_of("... <start_function_call>call: ...") == "functiongemma"
    assert format_of("[func_name1(params_name1=params_value1, ...), func_name2(params)]") == "pythonic"
    with pytest.raises(BadInput, match="wibble"):
        check_parser("wibble")
    assert format_of('Respond in the format {"name": function name, "parameters": dictionary}') == "llama3_json"
