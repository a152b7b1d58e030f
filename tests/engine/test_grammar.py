"""What tiny random models write under a grammar always follows it: parsed, validated, matched by others."""

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any

import jsonschema
import numpy as np
import pytest
from llguidance.numpy import allocate_token_bitmask, apply_token_bitmask_inplace, fill_next_token_bitmask

from tests.cases.families import save_tiny
from tests.engine.harness import make_engine
from tests.engine.spelling import END_ID, NUM_UNSPELLED, SPECIAL, TEXTS, ascii_tokenizer
from tests.engine.test_detokenize import byte_level, sentencepiece
from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.engine.grammar import HERMES_CALLS, LLAMA_CALLS, CallForm, Grammar, Grammars
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.request import FinishReason, Request
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.tokenizer import Tokenizer

PROMPT = [5, 9, 13, 17, 21, 25, 29, 33]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny("llama", folder)
    return replace(load_model(folder, dtype="fp32"), tokenizer=ascii_tokenizer())


@cache
def grammars() -> Grammars:
    return Grammars(ascii_tokenizer(), 160)


def answers(model: LoadedModel, grammar: Grammar, **settings: Any) -> list[Request]:
    """Of several requests at once: a greedy one (with drafts wanted), and ones that draw, with seeds of their own."""
    engine = make_engine(model, 700, windows=5, draft_tokens=4)
    ways: list[dict[str, Any]] = [{}, *({"temperature": 1.0, "seed": seed} for seed in range(3)), {"temperature": 9.0}]
    requests = [engine.add(PROMPT, SamplingParams(max_tokens=600, grammar=grammar, **way, **settings)) for way in ways]
    while engine.has_work:
        engine.step()
    assert requests[0].meter.drafted_tokens == 0
    return requests


BOUNDED = {"type": "string", "maxLength": 12}
SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {"name": BOUNDED, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"enum": ["abc", "the name", None, 12]}, "minItems": 2, "maxItems": 5},
    {
        "type": "object",
        "properties": {
            "kind": {"const": "x"},
            "child": {"$ref": "#/$defs/leaf"},
            "extra": {"type": ["boolean", "null"]},
        },
        "required": ["kind", "child"],
        "additionalProperties": False,
        "$defs": {"leaf": {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^[a-f]{2,4}$"}]}},
    },
    {"type": "string", "format": "date"},
    {"type": "number", "minimum": -1, "maximum": 1, "multipleOf": 0.25},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_answers_under_a_schema_parse_and_validate(model: LoadedModel, schema: dict[str, Any]) -> None:
    for request in answers(model, grammars().json_schema(schema)):
        assert request.finish_reason is FinishReason.STOP
        jsonschema.validate(json.loads(request.text), schema, format_checker=jsonschema.FormatChecker())


def test_any_object_begins_as_one_even_where_it_is_cut(model: LoadedModel) -> None:
    for request in answers(model, grammars().json_object(), min_tokens=30):
        assert len(request.output_ids) >= 30 or request.finish_reason is FinishReason.STOP
        if request.finish_reason is FinishReason.STOP:
            assert isinstance(json.loads(request.text), dict)
        else:
            assert request.text.startswith("{")


def test_a_regular_expression_is_matched_as_a_whole(model: LoadedModel) -> None:
    for request in answers(model, grammars().regex(r"(ab|abc){2,5}-[0-9]{1,3}")):
        assert re.fullmatch(r"(ab|abc){2,5}-[0-9]{1,3}", request.text)


@pytest.mark.parametrize(
    "grammar", ['start: "<" INT ("," INT)? ">"\nINT: /[0-9]{1,4}/', 'root ::= "<" [0-9] ("," [0-9])? ">"']
)
def test_lark_and_gbnf(model: LoadedModel, grammar: str) -> None:
    for request in answers(model, grammars().context_free(grammar)):
        assert re.fullmatch(r"<\d{1,4}(,\d{1,4})?>", request.text)


def test_a_choice(model: LoadedModel) -> None:
    texts = ["yes", 'no "never"', "abc/\\d"]
    assert {request.text for request in answers(model, grammars().choice(texts))} <= set(texts)


TOOLS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"city": {"enum": ["Rome", "Oslo"]}},
    },
    "now": {"type": "object", "properties": {}, "additionalProperties": False},
}


@pytest.mark.parametrize("form", [HERMES_CALLS, LLAMA_CALLS], ids=["hermes", "llama"])
def test_required_calls_are_calls(model: LoadedModel, form: CallForm) -> None:
    for request in answers(model, grammars().tool_calls(TOOLS, form, required=True, parallel=False)):
        inner = request.text.removeprefix(form.begin).removesuffix(form.end)
        assert request.text == form.begin + inner + form.end
        call = json.loads(inner)
        assert list(call) == ["name", form.arguments_key]
        jsonschema.validate(call[form.arguments_key], TOOLS[call["name"]])


def followed(grammar: Grammar, text: str) -> bool:
    """Whether a whole text follows, character by character, and may end there."""
    follower = grammar.follow()
    spelled = {" ": "Ġ", "\n": "Ċ"}
    for character in text:
        token_id = TEXTS.index(spelled.get(character, character))
        if not follower.allows(token_id):
            return False
        follower.advance([token_id])
    return follower.ended or follower.allows(END_ID)


@pytest.mark.parametrize("form", [HERMES_CALLS, LLAMA_CALLS], ids=["hermes", "llama"])
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("parallel", [True, False])
def test_what_tool_grammars_let_through(form: CallForm, required: bool, parallel: bool) -> None:
    grammar = grammars().tool_calls(TOOLS, form, required=required, parallel=parallel)

    def call(name: str, arguments: str) -> str:
        return f'{form.begin}{{"name": "{name}", "{form.arguments_key}": {arguments}}}{form.end}'

    one, two = call("get_weather", '{"city": "Oslo"}'), call("now", "{}")
    assert followed(grammar, one)
    assert followed(grammar, one + form.between + two) is parallel
    assert followed(grammar, "Hello.") is not required
    assert not followed(grammar, call("unknown", "{}"))
    assert not followed(grammar, call("get_weather", '{"city": "Bonn"}'))
    if form.begin:
        assert followed(grammar, "Let me see.\n" + one) is not required


@pytest.mark.parametrize(
    ("compile_it", "named"),
    [
        (lambda: grammars().json_schema({"type": "array", "contains": {}}), "contains"),
        (lambda: grammars().json_schema({"type": "string", "format": "zip"}), "zip"),
        (lambda: grammars().json_schema({"$ref": "#/missing"}), "/missing"),
        (lambda: grammars().json_schema(False), "Unsatisfiable"),
        (lambda: grammars().json_schema("text"), "'text'"),  # type: ignore[arg-type]
        (lambda: grammars().regex("a(?=b)"), "look-around"),
        (lambda: grammars().context_free("start: nothing"), "nothing"),
        (lambda: grammars().choice([]), "choice"),
        (lambda: grammars().tool_calls({"f": {"not": {}}}, HERMES_CALLS, required=True, parallel=False), "not"),
        (lambda: grammars().tool_calls({}, HERMES_CALLS, required=True, parallel=False), "no tools"),
    ],
)
def test_what_cannot_be_followed_is_named(compile_it: Any, named: str) -> None:
    with pytest.raises(BadInput, match=re.escape(named)) as caught:
        compile_it()
    assert caught.value.hint and len(caught.value.message) < 400


def test_blanks_in_json_end() -> None:
    grammar = grammars().json_object()
    assert followed(grammar, '{"a": [1, {"b": null}]}')
    assert followed(grammar, '{\n    "a": 1\n}')
    assert not followed(grammar, '{  "a": 1}')
    assert not followed(grammar, '{\n\n"a": 1}')


def test_the_mask_is_llguidance_s_own() -> None:
    follower = grammars().json_schema(SCHEMAS[0]).follow()
    row = np.random.default_rng(0).standard_normal((1, 160)).astype(np.float32)
    for token_id in (TEXTS.index('{"'), TEXTS.index("name"), TEXTS.index('":'), TEXTS.index('"')):
        mask = allocate_token_bitmask(1, 160)
        fill_next_token_bitmask(follower._matcher, mask)
        expected = row.copy()
        apply_token_bitmask_inplace(expected, mask)
        allowed = follower.allowed()
        np.testing.assert_array_equal(np.isfinite(expected[0]), allowed)
        assert not allowed[: len(SPECIAL)].any() and not allowed[160 - NUM_UNSPELLED :].any()
        assert all(follower.allows(int(i)) for i in np.flatnonzero(allowed))
        assert not follower.allows(END_ID) and not follower.allows(159)
        follower.advance([token_id])
    with pytest.raises(WindowtaxError, match="cannot follow its grammar"):
        follower.advance([END_ID])


@pytest.mark.parametrize("tokenizer", [byte_level(), sentencepiece(True), sentencepiece(False)])
def test_any_tokenizer_s_tokens_are_their_bytes(tokenizer: Tokenizer) -> None:
    """Drawn at random among what is allowed; the text that comes out is what `decode` gives."""
    grammar = Grammars(tokenizer, tokenizer.vocab_size + 3).json_schema(
        {"type": "object", "properties": {"é👍": {"enum": ["the 你好", "ab"]}}, "required": ["é👍"]}
        | {"additionalProperties": False}
    )
    for seed in range(20):
        generator, follower, ids = np.random.default_rng(seed), grammar.follow(), list[int]()
        while not follower.ended:
            ids.append(int(generator.choice(np.flatnonzero(follower.allowed()))))
            follower.advance(ids[-1:])
        assert json.loads(tokenizer.decode(ids))["é👍"] in ("the 你好", "ab")


def test_the_same_grammar_is_compiled_once_and_followed_apart() -> None:
    first, again = grammars().regex("abc+"), grammars().regex("abc+")
    assert first is again
    one, other = first.follow(), first.follow()
    one.advance([TEXTS.index("abc")])
    assert other.allows(TEXTS.index("a")) and not one.allows(TEXTS.index("a"))
    assert one.allows(END_ID) and not one.ended
    one.advance([END_ID])
    assert one.ended


def test_a_grammar_of_another_model_is_refused(model: LoadedModel) -> None:
    grammar = Grammars(ascii_tokenizer(), 170).regex("a")
    engine = make_engine(model, 64)
    with pytest.raises(BadInput, match="170 tokens; this model has 160"):
        engine.add(PROMPT, SamplingParams(max_tokens=4, grammar=grammar))
