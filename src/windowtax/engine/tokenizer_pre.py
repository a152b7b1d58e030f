"""How byte-level BPE vocabularies cut text before merging, by the name a GGUF gives in `tokenizer.ggml.pre`.

Each entry is what the tokenizer.json of the original model says (tests/goldens/tokenize/README.md has the evidence). A
name without an entry is refused: a near-enough splitter gives fluent text and wrong token ids.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tokenizers import Regex
from tokenizers.normalizers import NFC, Normalizer
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from windowtax.base.errors import UnsupportedModel

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_TAIL}"
)
_DEEPSEEK_V3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_TAIL}"
)


@dataclass(frozen=True, slots=True)
class ByteLevelSpec:
    """What a byte-level vocabulary needs beside its merges.

    ignore_merges: a piece that is a token as a whole is taken as it is. add_bos: what holds where the file is silent.
    """

    pre_tokenizer: Callable[[], PreTokenizer]
    normalizer: Callable[[], Normalizer] | None = None
    ignore_merges: bool = False
    add_bos: bool = False


def _split(*patterns: str) -> Callable[[], PreTokenizer]:
    def build() -> PreTokenizer:
        splits = [Split(Regex(pattern), behavior="isolated") for pattern in patterns]
        return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])

    return build


def _gpt2() -> PreTokenizer:
    return ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> PreTokenizer:
    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])


_LLAMA3_SPEC = ByteLevelSpec(_split(_LLAMA3), ignore_merges=True, add_bos=True)
_SPECS = {
    "gpt-2": ByteLevelSpec(_gpt2),
    "phi-2": ByteLevelSpec(_gpt2),
    "smollm": ByteLevelSpec(_single_digits),
    "starcoder": ByteLevelSpec(_single_digits),
    "refact": ByteLevelSpec(_single_digits),
    "qwen2": ByteLevelSpec(_split(_QWEN2), normalizer=NFC),
    "llama-bpe": _LLAMA3_SPEC,
    "llama3": _LLAMA3_SPEC,
    "llama-v3": _LLAMA3_SPEC,
    "tekken": ByteLevelSpec(_split(_TEKKEN), ignore_merges=True, add_bos=True),
    "deepseek-v3": ByteLevelSpec(_split(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK_V3)),
}


def byte_level_spec(name: str | None, source: str) -> ByteLevelSpec:
    """The entry for a name of `tokenizer.ggml.pre`. Raises UnsupportedModel for any other name, or none."""
    if name in _SPECS:
        return _SPECS[name]
    known = ", ".join(sorted(_SPECS))
    if name in (None, "default"):
        raise UnsupportedModel(
            f"{source} does not say how its vocabulary cuts text (tokenizer.ggml.pre is {name or 'missing'}).",
            f"Convert the model again with a current llama.cpp. Known names: {known}.",
        )
    raise UnsupportedModel(
        f"{source}: the pre-tokenizer {name!r} (tokenizer.ggml.pre) is not one this version reproduces exactly.",
        f"Use the model's own folder with tokenizer.json. Known names: {known}.",
    )
