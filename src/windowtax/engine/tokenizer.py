"""Text <-> token ids, for a model folder (tokenizer.json) or a GGUF file. The `tokenizers` library does the work."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.gguf_metadata import GgufHeader, read_gguf_header
from windowtax.engine.tokenizer_gguf import make_gguf_tokenizer

_FALLBACK_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MOST_REMEMBERED = 1 << 14


class Tokenizer:
    """A tokenizer and what a model's files say about its ends and its chat.

    vocab_size: ids that may occur, so rows of the embedding where the file says it. bos_token_id, eos_token_id: None
    where the model has none. stop_token_ids: every token that ends an answer. chat_template: Jinja; None for a base
    model.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        source: str,
        vocab_size: int | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | None = None,
        stop_token_ids: Iterable[int] = (),
        chat_template: str | None = None,
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.source = source
        self.vocab_size = vocab_size if vocab_size is not None else backend.get_vocab_size(with_added_tokens=True)
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.stop_token_ids = frozenset(stop_token_ids)
        self.chat_template = chat_template

    @property
    def bos_token(self) -> str | None:
        """The text of the begin token, as chat templates want it."""
        return None if self.bos_token_id is None else self.backend.id_to_token(self.bos_token_id)

    @property
    def eos_token(self) -> str | None:
        """The text of the end token, as chat templates want it."""
        return None if self.eos_token_id is None else self.backend.id_to_token(self.eos_token_id)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text. Special tokens written out in the text become those tokens, as in transformers.

        add_special_tokens: whether begin and end tokens are added where the model wants them. A rendered chat holds
        them already: encode it with False.
        """
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """Token ids of several texts, in parallel."""
        return [found.ids for found in self.backend.encode_batch(list(texts), add_special_tokens=add_special_tokens)]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids. Bytes that are not UTF-8 become U+FFFD. Ids the vocabulary lacks add nothing."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def token_text(self, token_id: int) -> str:
        """The text of one token by itself, special ones included: what a list of log-probabilities shows."""
        return self.token_bytes(token_id).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for; b"" for an id the vocabulary lacks."""
        return self._bytes_of(token_id)

    @cached_property
    def _bytes_of(self) -> Callable[[int], bytes]:
        return lru_cache(_MOST_REMEMBERED)(self._spelled)  # texts repeat their tokens

    def _spelled(self, token_id: int) -> bytes:
        token = self.backend.id_to_token(token_id)
        if token is None:
            return b""
        if self.is_byte_level:
            try:
                return bytes(_BYTE_OF[character] for character in token)
            except KeyError:  # an added token is spelled as it is
                return token.encode()
        byte = _FALLBACK_BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()

    def is_special(self, token_id: int) -> bool:
        """Whether `decode` leaves the token out."""
        return token_id in self._special_ids

    def is_fallback_byte(self, token_id: int) -> bool:
        """Whether the token is a single byte of a SentencePiece vocabulary."""
        token = None if self.is_byte_level else self.backend.id_to_token(token_id)
        return token is not None and _FALLBACK_BYTE.fullmatch(token) is not None

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether tokens are spelled in GPT-2's alphabet of bytes (else: SentencePiece with fallback bytes)."""
        return self._decoding[0]

    @cached_property
    def strips_first_space(self) -> bool:
        """Whether `decode` takes one space off the front of the whole text (Llama 2)."""
        return self._decoding[1]

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self.backend.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @cached_property
    def _decoding(self) -> tuple[bool, bool]:
        decoder = self.backend.decoder
        state: dict[str, Any] = json.loads(decoder.__getstate__()) if decoder is not None else {}
        steps = state.get("decoders", [state])
        kinds = [step.get("type") for step in steps]
        if kinds == ["ByteLevel"]:
            return True, False
        mark = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        if kinds[:3] == ["Replace", "ByteFallback", "Fuse"] and steps[0] == mark and steps[3:] in ([], [strip]):
            return False, bool(steps[3:])
        raise UnsupportedModel(
            f"{self.source}: the decoder {json.dumps(state)[:200]} cannot be followed token by token.",
            "Byte-level BPE and SentencePiece with fallback bytes can.",
        )


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a .gguf file or of a folder with tokenizer.json. Raises BadInput and UnsupportedModel."""
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise BadInput(f"{path} does not exist.", "Give a .gguf file or a folder that holds tokenizer.json.")
    return gguf_tokenizer(read_gguf_header(path))


def gguf_tokenizer(header: GgufHeader) -> Tokenizer:
    """The tokenizer of a GGUF file whose header was read. Raises BadInput and UnsupportedModel."""
    found = make_gguf_tokenizer(header)
    return Tokenizer(
        found.backend,
        source=str(header.path),
        vocab_size=found.size,
        bos_token_id=found.bos_token_id,
        eos_token_id=found.eos_token_id,
        stop_token_ids=found.stop_token_ids,
        chat_template=found.chat_template,
    )


def _from_folder(folder: Path) -> Tokenizer:
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise BadInput(f"{folder} has no tokenizer.json.", "Fetch it from the model's repository.")
    try:
        backend = Backend.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInput(f"{file} cannot be read: {error}", "Fetch it again.") from error
    settings = _read_json(folder / "tokenizer_config.json")
    config = _read_json(folder / "config.json")
    config = config | config.get("text_config", {})
    generation = _read_json(folder / "generation_config.json")

    def token_id(role: str) -> int | None:
        token = settings.get(f"{role}_token")
        text = token.get("content") if isinstance(token, dict) else token
        named = backend.token_to_id(text) if isinstance(text, str) else None
        others = [*_ids(config.get(f"{role}_token_id")), *_ids(generation.get(f"{role}_token_id"))]
        return named if named is not None or not others else others[0]

    eos = token_id("eos")
    stops = {*_ids(eos), *_ids(config.get("eos_token_id")), *_ids(generation.get("eos_token_id"))}
    size = config.get("vocab_size")
    return Tokenizer(
        backend,
        source=str(folder),
        vocab_size=size if isinstance(size, int) else None,
        bos_token_id=token_id("bos"),
        eos_token_id=eos,
        stop_token_ids=stops,
        chat_template=_chat_template(folder, settings),
    )


def _chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [entry for entry in values if isinstance(entry, int)]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}", "Fetch it again.") from error
    return found if isinstance(found, dict) else {}


def _byte_alphabet() -> dict[str, int]:
    """GPT-2 spells the bytes that print as themselves; the others, in order, are spelled from U+0100 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in set(printing)]
    return {chr(byte): byte for byte in printing} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
