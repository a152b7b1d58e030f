"""A tokenizer for the tiny models of tests/cases: 160 ids, ASCII and words that run across borders."""

from functools import cache

from tokenizers import AddedToken, decoders, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from windowtax.engine.tokenizer import Tokenizer

SPECIAL = ("<pad>", "<begin>", "<end>")
END_ID = 2
_WORDS = ("the", "an", "ab", "abc", "bc", "12", "10", "true", "null", '{"', '":', '",', '"}', "}}", "[[", "],", "name")
_CHARACTERS = [chr(byte) for byte in range(0x21, 0x7F)] + ["Ġ", "Ċ"]
TEXTS = (*SPECIAL, *_CHARACTERS, *_WORDS)
NUM_UNSPELLED = 160 - len(TEXTS)
"""Rows of the embedding that no token stands for, as many real models have them."""


@cache
def ascii_tokenizer() -> Tokenizer:
    """Its ids are those of TEXTS; it ends at END_ID."""
    backend = Backend(BPE(vocab={text: i for i, text in enumerate(TEXTS)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return Tokenizer(backend, source="test", vocab_size=160, eos_token_id=END_ID, stop_token_ids=[END_ID])
