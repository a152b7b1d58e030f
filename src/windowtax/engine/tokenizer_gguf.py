"""A tokenizer from the metadata of a GGUF file: byte-level BPE ("gpt2") and SentencePiece BPE ("llama")."""

import itertools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, decoders, normalizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.gguf_metadata import GgufArray, GgufHeader
from windowtax.engine.tokenizer_pre import byte_level_spec
from windowtax.ops.native import native_state

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_SPACE = "▁"

_END_TOKENS = frozenset(
    [
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<｜end▁of▁sentence｜>",
        "<eos>",
        "</s>",
    ]
)
"""Control tokens that end an answer. A GGUF names one of them; the others are known by their text, as in llama.cpp."""


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """What the file gives. size: rows of the vocabulary, fillers included. stop_token_ids: every token that ends."""

    backend: Backend
    size: int
    bos_token_id: int | None
    eos_token_id: int | None
    stop_token_ids: frozenset[int]
    chat_template: str | None


@dataclass(frozen=True)
class _Vocabulary:
    path: Path
    keys: Mapping[str, Any]
    tokens: list[str]
    types: NDArray[np.int32]

    def token_id(self, name: str) -> int | None:
        """The id under `tokenizer.ggml.<name>_token_id`, or None. Raises BadInput beyond the vocabulary."""
        found = self.keys.get(f"tokenizer.ggml.{name}_token_id")
        if found is not None and found >= len(self.tokens):
            raise BadInput(f"{self.path}: the {name} token is {found}, but there are {len(self.tokens):,} tokens.")
        return found

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token -> id, without the fillers that pad a vocabulary to the rows of the embedding."""
        fillers = {i for i in self.of_kinds(_UNUSED) if self.tokens[i] == f"[PAD{i}]"}
        numbered = zip(self.tokens, itertools.count(), strict=False)
        found = {token: i for token, i in numbered if i not in fillers} if fillers else dict(numbered)
        if len(found) + len(fillers) != len(self.tokens):
            raise BadInput(f"{self.path}: the vocabulary holds a token twice.", "Convert the model again.")
        return found

    def of_kinds(self, *kinds: int) -> list[int]:
        """The ids of all tokens of these kinds, ascending."""
        return np.flatnonzero(np.isin(self.types, kinds)).tolist()


def make_gguf_tokenizer(header: GgufHeader) -> GgufTokenizer:
    """The tokenizer of a GGUF file. Raises BadInput on broken metadata, UnsupportedModel on an unknown sort of it."""
    vocabulary = _vocabulary(header)
    model = header.metadata.get("tokenizer.ggml.model")
    if model == "gpt2":
        backend, add_bos = _byte_level(header, vocabulary)
    elif model == "llama":
        vocabulary = replace(vocabulary, tokens=[_respelled(token) for token in vocabulary.tokens])
        backend, add_bos = _sentencepiece(header, vocabulary), True
    else:
        raise UnsupportedModel(
            f"{header.path}: the tokenizer is of the sort {model!r}; 'gpt2' and 'llama' are read.",
            "Use the model's own folder with tokenizer.json.",
        )
    _add_tokens(backend, vocabulary, strip_right=header.architecture == "phi3")
    _add_ends(backend, vocabulary, add_bos)
    template = header.metadata.get("tokenizer.chat_template")
    return GgufTokenizer(
        backend=backend,
        size=len(vocabulary.tokens),
        bos_token_id=vocabulary.token_id("bos"),
        eos_token_id=vocabulary.token_id("eos"),
        stop_token_ids=_stop_token_ids(vocabulary),
        chat_template=template if isinstance(template, str) else None,
    )


def _vocabulary(header: GgufHeader) -> _Vocabulary:
    tokens = _strings(header, "tokenizer.ggml.tokens")
    types = np.array(_numbers(header, "tokenizer.ggml.token_type") or [_NORMAL] * len(tokens), dtype=np.int32)
    if len(types) != len(tokens):
        raise BadInput(f"{header.path}: {len(tokens):,} tokens, but {len(types):,} token types.")
    return _Vocabulary(header.path, header.metadata, tokens, types)


def _byte_level(header: GgufHeader, vocabulary: _Vocabulary) -> tuple[Backend, bool]:
    spec = byte_level_spec(header.metadata.get("tokenizer.ggml.pre"), str(header.path))
    merges = [_pair(merge.split(" ", 1), header.path) for merge in _strings(header, "tokenizer.ggml.merges")]
    backend = _backend(vocabulary, merges, ignore_merges=spec.ignore_merges)
    if spec.normalizer is not None:
        backend.normalizer = spec.normalizer()
    backend.pre_tokenizer = spec.pre_tokenizer()
    backend.decoder = decoders.ByteLevel()
    return backend, spec.add_bos


def _sentencepiece(header: GgufHeader, vocabulary: _Vocabulary) -> Backend:
    merges = _merges(header, vocabulary)
    unknown = vocabulary.tokens[vocabulary.token_id("unknown") or 0]
    backend = _backend(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    to_mark = normalizers.Replace(" ", _SPACE)
    to_space = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if header.metadata.get("tokenizer.ggml.add_space_prefix", True):
        backend.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), to_mark])
        backend.decoder = decoders.Sequence([*to_space, decoders.Strip(" ", 1, 0)])
    else:
        backend.normalizer = to_mark
        backend.decoder = decoders.Sequence(to_space)
    return backend


def _respelled(token: str) -> str:
    # A conversion to GGUF spells user-defined runs of spaces with real ones; the model's own files have the mark.
    return token if token.strip(" ") else _SPACE * len(token)


def _merges(header: GgufHeader, vocabulary: _Vocabulary) -> list[tuple[str, str]]:
    """Every way to put a token together from two others, best first: the order SentencePiece would choose."""
    tokens = list(vocabulary.ids)
    module = native_state().module
    whole, pairs = find_splits(tokens) if module is None else module.splits(tokens)
    if header.architecture.startswith("gemma"):
        # Gemma's runs of spaces and newlines carry no usable score; the order of the file is the order of the merges.
        return pairs
    scores = np.array(_numbers(header, "tokenizer.ggml.scores"))
    if len(scores) != len(vocabulary.tokens):
        raise BadInput(f"{header.path}: {len(vocabulary.tokens):,} tokens, but {len(scores):,} scores.")
    score_of = scores[list(vocabulary.ids.values())][whole]
    left, right = (np.array([len(pair[side]) for pair in pairs], dtype=np.int64) for side in (0, 1))
    order = np.lexsort((-right, -left, -score_of))
    return [pairs[index] for index in order]


def find_splits(tokens: list[str]) -> tuple[Sequence[int], list[tuple[str, str]]]:
    """Of each token, in turn, all (left, right) that are tokens too and together that one, the longest left part
    first: the tokens' indices, and the pairs. Where there is native code, that does it (bind/vocabulary.cpp)."""
    known = set(tokens)
    whole: list[int] = []
    pairs: list[tuple[str, str]] = []
    for index, token in enumerate(tokens):
        for cut in range(len(token) - 1, 0, -1):
            if token[:cut] in known and token[cut:] in known:
                whole.append(index)
                pairs.append((token[:cut], token[cut:]))
    return whole, pairs


def _backend(vocabulary: _Vocabulary, merges: list[tuple[str, str]], **options: Any) -> Backend:
    try:
        return Backend(BPE(vocab=vocabulary.ids, merges=merges, **options))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInput(f"{vocabulary.path}: the merges do not fit the vocabulary ({error}).") from error


def _add_tokens(backend: Backend, vocabulary: _Vocabulary, strip_right: bool) -> None:
    """Makes control and user-defined tokens match as a whole. strip_right: Phi-3's swallow the spaces after them."""
    plain = {"<unk>", "<s>", "<|endoftext|>"}
    added = [
        AddedToken(
            (token := vocabulary.tokens[i]),
            special=bool(vocabulary.types[i] != _USER_DEFINED),
            normalized=False,
            rstrip=strip_right and token not in plain,
        )
        for i in vocabulary.of_kinds(_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]
    backend.add_special_tokens([token for token in added if token.special])
    backend.add_tokens([token for token in added if not token.special])


def _add_ends(backend: Backend, vocabulary: _Vocabulary, add_bos: bool) -> None:
    bos, eos = vocabulary.token_id("bos"), vocabulary.token_id("eos")
    first = [bos] if bos is not None and vocabulary.keys.get("tokenizer.ggml.add_bos_token", add_bos) else []
    last = [eos] if eos is not None and vocabulary.keys.get("tokenizer.ggml.add_eos_token", False) else []
    if first or last:
        names = [*(vocabulary.tokens[i] for i in first), "$A", *(vocabulary.tokens[i] for i in last)]
        backend.post_processor = TemplateProcessing(
            single=names, special_tokens=[(vocabulary.tokens[i], i) for i in {*first, *last}]
        )


def _stop_token_ids(vocabulary: _Vocabulary) -> frozenset[int]:
    named = {vocabulary.token_id(name) for name in ("eos", "eot", "eom")} - {None}
    known = {i for i in vocabulary.of_kinds(_CONTROL) if vocabulary.tokens[i] in _END_TOKENS}
    return frozenset(i for i in named | known if i is not None)


def _pair(merge: list[str], path: Path) -> tuple[str, str]:
    if len(merge) == 2 and merge[0] and merge[1]:
        return merge[0], merge[1]
    raise BadInput(f"{path}: the merge {' '.join(merge)!r} is not two tokens with a space between.")


def _strings(header: GgufHeader, key: str) -> list[str]:
    # GgufArray.read() is general and slow; these lists hold up to 500,000 entries.
    array = _array(header, key)
    if array is None or array.element != 8:
        raise BadInput(f"{header.path}: the GGUF metadata has no list of texts {key!r}.")
    with header.path.open("rb") as file:
        file.seek(array.offset)
        data = file.read(array.num_bytes)
    module = native_state().module
    return read_texts(data, array.count) if module is None else module.texts(data, array.count)


def read_texts(data: bytes, count: int) -> list[str]:
    """So many texts, each behind 8 bytes with its length. Where there is native code, that does it."""
    unpack, end, found = struct.Struct("<Q").unpack_from, 0, []
    for _ in range(count):
        start = end + 8
        end = start + unpack(data, end)[0]
        found.append(str(data[start:end], "utf-8", "replace"))
    return found


def _numbers(header: GgufHeader, key: str) -> Sequence[float]:
    array = _array(header, key)
    if array is None:
        return []
    codes = {4: "I", 5: "i", 6: "f"}
    if array.element not in codes:
        raise BadInput(f"{header.path}: {key!r} is not a list of 32-bit numbers.")
    with header.path.open("rb") as file:
        file.seek(array.offset)
        return struct.unpack(f"<{array.count}{codes[array.element]}", file.read(4 * array.count))


def _array(header: GgufHeader, key: str) -> GgufArray | None:
    found = header.metadata.get(key)
    return found if isinstance(found, GgufArray) else None
