"""Tokenizers of GGUF files and folders against the goldens (tests/goldens/tokenize) and against transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from tests.goldens.tokenize.prompts import PROMPTS
from tests.goldens.tokenize.witness import PATTERNS, PlainBpe, pieces
from tests.native.harness import native
from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.engine.tokenizer import Tokenizer, load_tokenizer
from windowtax.engine.tokenizer_gguf import find_splits, read_texts
from windowtax.engine.tokenizer_pre import _SPECS, byte_level_spec
from windowtax.hub import fetch
from windowtax.ops.native import native_state

GOLDENS = Path(__file__).parent.parent / "goldens" / "tokenize"
REAL = ("smollm2-135m", "qwen2.5-coder-0.5b", "gemma-3-270m")
ALPHABET = "".join(PlainBpe("gpt-2", [], [], ["-"]).spelling.values())
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDENS / f"{name}.json").read_text("utf-8"))


def write_gguf(path: Path, kind: str, tokens: list[tuple[str, int]], architecture: str = "llama", **keys: Any) -> Path:
    """A GGUF file that holds a tokenizer and a tensor of one number. tokens: (text, type)."""
    writer = GGUFWriter(path, architecture)
    writer.add_tokenizer_model(kind)
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([token_type for _, token_type in tokens])
    for key, value in keys.items():
        name = "tokenizer.chat_template" if key == "chat_template" else f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_array(name, value)
    writer.add_tensor("token_embd.weight", np.zeros(1, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_level_gguf(path: Path, **keys: Any) -> Path:
    """A small byte-level vocabulary: the alphabet, a few merges, and tokens of every type."""
    merges = ["Ġ t", "Ġ Ġ", "h e", "Ġt he", "1 2", "a b", "ab c", "ĠĠ ĠĠ"]
    tokens = [(character, NORMAL) for character in ALPHABET]
    tokens += [(merge.replace(" ", ""), NORMAL) for merge in merges]
    tokens += [("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL), ("<|endoftext|>", CONTROL), ("<tool>", USER_DEFINED)]
    tokens += [("wholeword", NORMAL), (f"[PAD{len(tokens) + 1}]", UNUSED)]
    usual = {"bos_token_id": 264, "eos_token_id": 265, "pre": "gpt-2", "merges": merges}
    return write_gguf(path, "gpt2", tokens, **(usual | keys))


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_models_encode_as_the_golden_says(name: str) -> None:
    tokenizer = load_tokenizer(fetch.pull(name))
    expected = golden(name)["ids"]
    assert set(expected) == set(PROMPTS)
    for prompt, text in PROMPTS.items():
        ids = tokenizer.encode(text)
        assert ids == expected[prompt], prompt
        if prompt not in ("special tokens", "chat", "gemma chat") and name != "qwen2.5-coder-0.5b":
            assert tokenizer.decode(ids) == (text.replace("▁", " ") if name.startswith("gemma") else text), prompt
    assert tokenizer.encode_batch(list(PROMPTS.values())) == list(expected.values())


@pytest.mark.real
def test_real_models_know_their_ends() -> None:
    smollm, qwen, gemma = (load_tokenizer(fetch.pull(name)) for name in REAL)
    assert (smollm.vocab_size, smollm.bos_token, smollm.eos_token) == (49152, "<|im_start|>", "<|im_end|>")
    assert (qwen.vocab_size, qwen.bos_token, qwen.eos_token) == (151936, "<|endoftext|>", "<|im_end|>")
    assert (gemma.vocab_size, gemma.bos_token, gemma.eos_token) == (262144, "<bos>", "<eos>")
    stops = [{tokenizer.token_text(i) for i in tokenizer.stop_token_ids} for tokenizer in (smollm, qwen, gemma)]
    assert stops == [{"<|im_end|>", "<|endoftext|>"}, {"<|im_end|>", "<|endoftext|>"}, {"<eos>", "<end_of_turn>"}]
    assert smollm.chat_template and qwen.chat_template and gemma.chat_template is None


def test_a_sentencepiece_vocabulary_encodes_as_sentencepiece_does(tmp_path: Path) -> None:
    case = golden("llama-like")
    texts, scores, types = zip(*case["pieces"], strict=True)
    tokens = list(zip(texts, types, strict=True))
    path = write_gguf(tmp_path / "m.gguf", "llama", tokens, scores=list(scores), bos_token_id=1, eos_token_id=2)
    tokenizer = load_tokenizer(path)
    for prompt, ids in case["ids"].items():
        text = PROMPTS[prompt]
        assert tokenizer.encode(text, add_special_tokens=False) == ids, prompt
        assert tokenizer.encode(text) == [1, *ids]
        assert tokenizer.decode(ids) == text.replace("▁", " "), prompt
    assert tokenizer.strips_first_space and not tokenizer.is_byte_level
    assert tokenizer.token_bytes(3 + 0xE4) == b"\xe4" and tokenizer.is_fallback_byte(3 + 0xE4)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_merges_are_in_the_order_of_transformers(tmp_path: Path, architecture: str) -> None:
    from transformers.tokenization_utils_base import generate_merges

    texts, scores, types = zip(*golden("llama-like")["pieces"], strict=True)
    tokens = list(zip(texts, types, strict=True))
    path = write_gguf(tmp_path / "m.gguf", "llama", tokens, architecture, scores=list(scores))
    ids = {text: i for i, text in enumerate(texts)}
    by = {"llama": dict(zip(texts, scores, strict=True)), "gemma3": {text: -i for text, i in ids.items()}}
    found = json.loads(load_tokenizer(path).backend.to_str())["model"]["merges"]
    assert [tuple(pair) for pair in found] == generate_merges(ids, by[architecture])


@pytest.mark.parametrize("name", PATTERNS)
def test_each_pre_tokenizer_cuts_as_its_pattern_says(name: str) -> None:
    pre_tokenizer = byte_level_spec(name, "test").pre_tokenizer()
    spelling = PlainBpe(name, [], [], ["-"]).spelling
    for prompt, text in PROMPTS.items():
        expected = ["".join(spelling[byte] for byte in piece.encode()) for piece in pieces(name, text)]
        assert [piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)] == expected, prompt


def test_every_pre_tokenizer_has_a_witness() -> None:
    assert set(_SPECS) == set(PATTERNS)


@given(st.text(alphabet=" \t\n\r12abcéhte<|>_im_start'sS你👍", max_size=40))
def test_byte_level_encoding_equals_plain_bpe(text: str) -> None:
    for name in ("gpt-2", "smollm", "qwen2"):
        merges = [("Ġ", "t"), ("Ġ", "Ġ"), ("h", "e"), ("Ġt", "he"), ("1", "2"), ("a", "b"), ("ab", "c"), ("ĠĠ", "ĠĠ")]
        tokens = [*ALPHABET, *("".join(pair) for pair in merges), "<|im_start|>"]
        spec = byte_level_spec(name, "test")
        backend = Backend(BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
        backend.pre_tokenizer = spec.pre_tokenizer()
        if spec.normalizer:
            backend.normalizer = spec.normalizer()
        backend.add_special_tokens([AddedToken("<|im_start|>", normalized=False, special=True)])
        assert backend.encode(text).ids == PlainBpe(name, tokens, merges, ["<|im_start|>"]).encode(text)


def test_every_token_s_bytes_are_what_decoding_gives(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(byte_level_gguf(tmp_path / "m.gguf"))
    assert {tokenizer.token_bytes(i) for i in range(256)} == {bytes([byte]) for byte in range(256)}
    for token_id in range(tokenizer.vocab_size):
        assert tokenizer.token_text(token_id) == tokenizer.decode([token_id], skip_special_tokens=False)


def test_a_byte_level_file(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(byte_level_gguf(tmp_path / "m.gguf", chat_template="{{ messages }}", eot_token_id=267))
    assert tokenizer.vocab_size == 270
    assert tokenizer.encode("<|im_start|>abc the<tool>") == [264, 262, 259, 267]
    assert tokenizer.decode([264, 262, 259, 267, 265]) == "abc the<tool>"
    assert tokenizer.decode([264, 262, 265], skip_special_tokens=False) == "<|im_start|>abc<|im_end|>"
    assert tokenizer.stop_token_ids == {265, 266, 267}
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (264, 265)
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.decode([262, 269, 10**6]) == "abc"
    assert (tokenizer.token_bytes(269), tokenizer.token_bytes(264), tokenizer.token_text(259)) == (
        b"",
        b"<|im_start|>",
        " the",
    )
    assert tokenizer.is_special(264) and not tokenizer.is_special(267)


@pytest.mark.parametrize(("pre", "expected"), [("gpt-2", 9), ("llama-bpe", 1), ("tekken", 1)])
def test_ignoring_merges_takes_whole_words(tmp_path: Path, pre: str, expected: int) -> None:
    tokenizer = load_tokenizer(byte_level_gguf(tmp_path / "m.gguf", pre=pre))
    assert len(tokenizer.encode("wholeword", add_special_tokens=False)) == expected


@pytest.mark.parametrize(
    ("keys", "first", "last"),
    [
        ({}, [], []),
        ({"add_bos_token": True}, [264], []),
        ({"add_bos_token": True, "add_eos_token": True}, [264], [265]),
        ({"pre": "llama-bpe"}, [264], []),
        ({"pre": "llama-bpe", "add_bos_token": False}, [], []),
    ],
)
def test_begin_and_end_tokens(tmp_path: Path, keys: dict[str, Any], first: list[int], last: list[int]) -> None:
    tokenizer = load_tokenizer(byte_level_gguf(tmp_path / "m.gguf", **keys))
    assert tokenizer.encode("abc") == [*first, 262, *last]
    assert tokenizer.encode("abc", add_special_tokens=False) == [262]


@pytest.mark.parametrize("pre", ["default", "falcon", "no-such-name"])
def test_an_unknown_pre_tokenizer_is_refused_by_name(tmp_path: Path, pre: str) -> None:
    with pytest.raises(UnsupportedModel, match=pre):
        load_tokenizer(byte_level_gguf(tmp_path / "m.gguf", pre=pre))


def test_an_unknown_sort_of_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="'t5'"):
        load_tokenizer(write_gguf(tmp_path / "m.gguf", "t5", [("a", NORMAL)]))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"merges": ["a b c d"]}, "merges do not fit"),
        ({"merges": ["ab"]}, "not two tokens"),
        ({"eos_token_id": 999}, "eos token is 999"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_tokenizer(byte_level_gguf(tmp_path / "m.gguf", **keys))


def test_a_token_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="twice"):
        load_tokenizer(
            write_gguf(tmp_path / "m.gguf", "gpt2", [("a", NORMAL), ("a", NORMAL)], merges=["a a"], pre="gpt-2")
        )


def test_phi3_tokens_swallow_the_spaces_after_them(tmp_path: Path) -> None:
    tokens = [
        ("<unk>", UNKNOWN),
        ("<s>", CONTROL),
        ("</s>", CONTROL),
        ("▁", NORMAL),
        ("a", NORMAL),
        ("<|user|>", CONTROL),
    ]
    path = write_gguf(tmp_path / "m.gguf", "llama", tokens, "phi3", scores=[0.0] * 6, add_bos_token=False)
    assert load_tokenizer(path).encode("<|user|>\n a<s> a") == [5, 3, 4, 1, 3, 3, 4]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a model's repository has it, written by transformers."""
    from transformers import PreTrainedTokenizerFast

    backend = load_tokenizer(byte_level_gguf(tmp_path / "m.gguf", add_bos_token=True, pre="qwen2")).backend
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template="{{ messages[0].content }}",
    )
    folder = tmp_path / "model"
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"vocab_size": 300, "eos_token_id": 265}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [265, 266]}))
    return folder


def test_a_folder_equals_transformers(folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    ours = load_tokenizer(folder)
    for prompt, text in PROMPTS.items():
        ids = theirs(text)["input_ids"]
        assert ours.encode(text) == ids, prompt
        assert ours.encode(text, add_special_tokens=False) == theirs(text, add_special_tokens=False)["input_ids"]
        for skip in (True, False):
            assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip), prompt
    assert (ours.bos_token_id, ours.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id) == (264, 265)
    assert (ours.bos_token, ours.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert ours.stop_token_ids == {265, 266}
    assert (ours.vocab_size, ours.chat_template) == (300, "{{ messages[0].content }}")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"chat_template": "a"}, "a"),
        ({"chat_template": [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "c"}]}, "c"),
        ({}, None),
    ],
)
def test_chat_templates_in_the_tokenizer_config(folder: Path, settings: dict[str, Any], expected: str | None) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": {"content": "<|im_start|>"}}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.chat_template == expected
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (264, 265)


def test_a_folder_that_lacks_or_breaks_a_file(folder: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        load_tokenizer(folder / "no.gguf")
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(BadInput, match=r"generation_config\.json is not JSON"):
        load_tokenizer(folder)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        load_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match=r"no tokenizer\.json"):
        load_tokenizer(folder)


def test_a_decoder_that_cannot_be_streamed_is_named() -> None:
    backend = Backend(BPE())
    backend.decoder = decoders.WordPiece()
    with pytest.raises(UnsupportedModel, match="WordPiece"):
        assert Tokenizer(backend, source="test").is_byte_level


@native
def test_native_code_finds_the_same_splits_and_texts() -> None:
    """The look-ups in Python are the witness: many tokens, some of several bytes, and the empty one."""
    random = np.random.default_rng(3)
    alphabet = ["a", "b", "c", "é", "▁", "漢", "😀"]
    tokens = ["", *sorted({"".join(random.choice(alphabet, random.integers(1, 7))) for _ in range(4000)})]
    module = native_state().module
    assert module is not None
    whole, pairs = module.splits(tokens)
    expected = find_splits(tokens)
    assert (list(whole), pairs) == (list(expected[0]), expected[1])
    assert len(pairs) > 1000
    texts = [token.encode() for token in tokens] + [b"\xff\xfe broken", b"\xe6\xbc"]
    data = b"".join(len(text).to_bytes(8, "little") + text for text in texts)
    assert module.texts(data, len(texts)) == read_texts(data, len(texts))
    with pytest.raises(IndexError, match="middle of a text"):
        module.texts(data[:-1], len(texts))
