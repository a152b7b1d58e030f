"""Byte-level BPE in plain Python, straight from its definition: the witness that shares no code with `tokenizers`."""

import itertools
import unicodedata
from collections.abc import Iterator

import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_V3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)

# The patterns that llama.cpp lists for each name (src/llama-vocab.cpp), where the tokenizer.json of the model agrees.
PATTERNS = {
    "gpt-2": [GPT2],
    "phi-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "refact": [r"\p{N}", GPT2],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "llama-bpe": [LLAMA3],
    "llama3": [LLAMA3],
    "llama-v3": [LLAMA3],
    "tekken": [TEKKEN],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_V3],
}
NORMALIZATION = {"qwen2": "NFC"}


def pieces(name: str, text: str) -> list[str]:
    """The text cut by each pattern in turn; what lies between two matches is a piece too."""
    found = [text]
    for pattern in PATTERNS[name]:
        found = [part for piece in found for part in _isolate(pattern, piece)]
    return found


def _isolate(pattern: str, text: str) -> Iterator[str]:
    end = 0
    for match in regex.finditer(pattern, text):
        yield from filter(None, (text[end : match.start()], match.group()))
        end = match.end()
    yield from filter(None, [text[end:]])


class PlainBpe:
    """tokens: the vocabulary in GPT-2's spelling. merges: pairs, best first. special: tokens that match as a whole."""

    def __init__(self, name: str, tokens: list[str], merges: list[tuple[str, str]], special: list[str]) -> None:
        self.name = name
        self.ids = {token: token_id for token_id, token in enumerate(tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        longest_first = sorted(special, key=len, reverse=True)
        self.special = regex.compile("(" + "|".join(map(regex.escape, longest_first)) + ")")
        printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
        spelled = dict.fromkeys(printing)
        self.spelling = {byte: chr(byte) for byte in spelled}
        for byte in range(256):
            if byte not in spelled:
                self.spelling[byte] = chr(256 + len(self.spelling) - len(printing))

    def encode(self, text: str) -> list[int]:
        """Token ids, without begin and end tokens."""
        found: list[int] = []
        for index, part in enumerate(self.special.split(text)):
            if index % 2:
                found.append(self.ids[part])
            elif part:
                for piece in pieces(self.name, self._normalized(part)):
                    found += self._merge([self.spelling[byte] for byte in piece.encode()])
        return found

    def _normalized(self, text: str) -> str:
        return unicodedata.normalize(NORMALIZATION[self.name], text) if self.name in NORMALIZATION else text

    def _merge(self, symbols: list[str]) -> list[int]:
        while len(symbols) > 1:
            ranked = [
                (self.ranks[pair], place)
                for place, pair in enumerate(itertools.pairwise(symbols))
                if pair in self.ranks
            ]
            if not ranked:
                break
            _, place = min(ranked)
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        return [self.ids[symbol] for symbol in symbols]
