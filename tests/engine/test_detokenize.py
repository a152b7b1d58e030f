"""Streamed text equals the text of all tokens, cut at the first stop string, and is never taken back."""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from tests.goldens.tokenize.prompts import PROMPTS
from tests.goldens.tokenize.witness import PlainBpe
from windowtax.base.errors import BadInput
from windowtax.engine.detokenize import StreamDecoder
from windowtax.engine.tokenizer import Tokenizer, load_tokenizer
from windowtax.hub import fetch

GOLDENS = Path(__file__).parent.parent / "goldens" / "tokenize"
SPECIAL, TOOL = "<|end|>", "<tool é>"
UNKNOWN_ID = 10**6


def _tokenizer(tokens: list[str], decoder: decoders.Decoder) -> Tokenizer:
    backend = Backend(BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    backend.decoder = decoder
    backend.add_special_tokens([AddedToken(SPECIAL, special=True)])
    backend.add_tokens([AddedToken(TOOL)])
    return Tokenizer(backend, source="test")


@cache
def byte_level() -> Tokenizer:
    spelled = PlainBpe("gpt-2", [], [], ["-"]).spelling
    words = ["".join(spelled[byte] for byte in word.encode()) for word in (" the", "ab", "abc", "é", "你好", "👍🏽")]
    return _tokenizer([*spelled.values(), *words], decoders.ByteLevel())


@cache
def sentencepiece(strip: bool) -> Tokenizer:
    pieces = [piece for piece, _, _ in json.loads((GOLDENS / "llama-like.json").read_text("utf-8"))["pieces"]]
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return _tokenizer(pieces, decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps))


def stream(tokenizer: Tokenizer, ids: list[int], stops: tuple[str, ...], skip: bool) -> tuple[list[str], str | None]:
    decoder = StreamDecoder(tokenizer, stops, skip_special_tokens=skip)
    texts = [decoder.push(token_id) for token_id in ids]
    return [*texts, decoder.finish()], decoder.stopped


def cut(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The text up to the stop string that is complete first; of those that end together, the longest."""
    for end in range(len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            longest = max(ended, key=len)
            return text[: end - len(longest)], longest
    return text, None


def check(tokenizer: Tokenizer, ids: list[int], stops: tuple[str, ...] = (), skip: bool = True) -> None:
    texts, stopped = stream(tokenizer, ids, stops, skip)
    assert ("".join(texts), stopped) == cut(tokenizer.decode(ids, skip_special_tokens=skip), stops)


TOKENIZERS = [byte_level, lambda: sentencepiece(True), lambda: sentencepiece(False)]
STOPS = st.lists(st.text(alphabet="ab \n\ufffdé你", min_size=1, max_size=4), max_size=3).map(tuple)


@given(st.sampled_from(TOKENIZERS), st.lists(st.integers(0, 640), max_size=30), STOPS, st.booleans())
def test_any_ids(tokenizer: Callable[[], Tokenizer], ids: list[int], stops: tuple[str, ...], skip: bool) -> None:
    check(tokenizer(), ids, stops, skip)


@given(st.sampled_from(TOKENIZERS), st.binary(max_size=24), st.lists(st.integers(0, 23), max_size=3), STOPS)
def test_any_bytes_with_special_and_unknown_ids_between(
    tokenizer: Callable[[], Tokenizer], data: bytes, places: list[int], stops: tuple[str, ...]
) -> None:
    found = tokenizer()
    byte_ids = {found.token_bytes(i): i for i in range(260) if found.is_byte_level or found.is_fallback_byte(i)}
    ids = [byte_ids[bytes([byte])] for byte in data]
    for number, place in enumerate(places):
        ids.insert(place, found.backend.token_to_id(SPECIAL) if number % 2 else UNKNOWN_ID)
    check(found, ids, stops)


@given(st.sampled_from(TOKENIZERS), st.text(alphabet="ab c\n你é👍\U0001f3fd<>|", max_size=30), STOPS)
def test_any_text(tokenizer: Callable[[], Tokenizer], text: str, stops: tuple[str, ...]) -> None:
    found = tokenizer()
    byte_ids = {found.token_bytes(i): i for i in range(260) if found.is_byte_level or found.is_fallback_byte(i)}
    ids = [byte_ids[bytes([byte])] for byte in text.encode()]
    check(found, ids, stops)


def test_what_is_held_back() -> None:
    tokenizer = byte_level()
    decoder = StreamDecoder(tokenizer, ["STOP", "\n\n"])
    spelled = {tokenizer.token_bytes(i): i for i in range(256)}

    def push(data: bytes) -> list[str]:
        return [decoder.push(spelled[bytes([byte])]) for byte in data]

    assert push(b"a") == ["a"]
    assert push("你".encode()) == ["", "", "你"]
    assert push(b"\nb") == ["", "\nb"]
    assert push(b"STOX") == ["", "", "", "STOX"]
    assert push(b"SSTOP") == ["", "S", "", "", ""]
    assert decoder.stopped == "STOP"
    assert push(b"more") == [""] * 4 and decoder.finish() == ""


@pytest.mark.parametrize(
    ("stops", "expected", "stopped"),
    [
        (["e", "t"], " ", "t"),
        (["he", "the"], " ", "the"),
        (["the", "he", "e"], " ", "the"),
        (["theft", "hex"], " the", None),
    ],
)
def test_several_stop_strings_in_one_token(stops: list[str], expected: str, stopped: str | None) -> None:
    tokenizer = byte_level()
    texts, found = stream(tokenizer, [256], tuple(stops), True)
    assert tokenizer.token_text(256) == " the"
    assert ("".join(texts), found) == (expected, stopped)


def test_the_longest_beginning_of_a_stop_string_is_held() -> None:
    tokenizer = byte_level()
    letters = [next(i for i in range(256) if tokenizer.token_bytes(i) == letter) for letter in (b"a", b"a", b"a", b"b")]
    assert stream(tokenizer, letters, ("aab",), True) == (["", "", "a", "", ""], "aab")


def test_a_run_of_fallback_bytes_waits_for_its_end() -> None:
    tokenizer = sentencepiece(True)
    decoder = StreamDecoder(tokenizer)
    ids = [3 + byte for byte in "你".encode()]
    assert [decoder.push(i) for i in ids] == ["", "", ""]
    assert decoder.push(tokenizer.backend.token_to_id("▁the") or tokenizer.backend.token_to_id("▁")).startswith("你 ")
    assert [decoder.push(3 + 0xFF), decoder.finish()] == ["", "\ufffd"]


@pytest.mark.parametrize("stops", ["abc", [""], ["a", ""]])
def test_stop_strings_must_be_a_list_of_texts(stops: list[str]) -> None:
    with pytest.raises(BadInput, match="Stop strings"):
        StreamDecoder(byte_level(), stops)


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-coder-0.5b", "gemma-3-270m"])
def test_real_vocabularies(name: str) -> None:
    tokenizer = load_tokenizer(fetch.pull(name))
    draw = random.Random(name)
    for text in PROMPTS.values():
        check(tokenizer, tokenizer.encode(text))
        check(tokenizer, tokenizer.encode(text), ("</", "zen", "\n\n"))
    for _ in range(300):
        check(tokenizer, [draw.randrange(tokenizer.vocab_size + 3) for _ in range(20)], ("e", "\ufffd\ufffd"))
        check(tokenizer, [draw.randrange(512) for _ in range(20)], (), skip=draw.random() < 0.5)
