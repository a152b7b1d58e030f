"""Token ids -> text while they are generated: what is given out never has to be taken back."""

import codecs
from collections.abc import Sequence

from windowtax.base.errors import BadInput
from windowtax.engine.tokenizer import Tokenizer


class StreamDecoder:
    """The text of one answer, token by token. All pushes and `finish` together equal `Tokenizer.decode` of all ids.

    Held back: bytes that may still become a character, and text that may still become a stop string. Once a stop
    string is complete, the text before it is all there is, `stopped` names it, and later tokens add nothing. Among
    several, the one that is complete first counts; of those that end together, the longest.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop_strings: Sequence[str] = (), skip_special_tokens: bool = True
    ) -> None:
        if isinstance(stop_strings, str) or not all(stop_strings):
            raise BadInput("Stop strings must be a list of texts that are not empty.", 'For example ["\\n\\n"].')
        self.stopped: str | None = None
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._stop_strings = tuple(stop_strings)
        self._pieces: _Pieces = _BytePieces(tokenizer) if tokenizer.is_byte_level else _FallbackPieces(tokenizer)
        self._held = ""

    def push(self, token_id: int, may_stop: bool = True) -> str:
        """The text that is certain now and was not before this token; often "" .

        may_stop: whether a stop string that is complete with this token counts; else it is text.
        """
        if self.stopped is not None or (self._skip_special_tokens and self._tokenizer.is_special(token_id)):
            return ""
        self._held += self._pieces.push(token_id)
        return self._release(keep=True, may_stop=may_stop)

    def finish(self) -> str:
        """What was still held back. Call it once, after the last token."""
        if self.stopped is not None:
            return ""
        self._held += self._pieces.finish()
        return self._release(keep=False)

    def _release(self, keep: bool, may_stop: bool = True) -> str:
        if not self._stop_strings:
            text, self._held = self._held, ""
            return text
        stops = self._stop_strings if may_stop else ()
        found = [(start + len(stop), start, stop) for stop in stops if (start := self._held.find(stop)) >= 0]
        if found:
            _, end, self.stopped = min(found)
        else:
            end = len(self._held) - (self._undecided() if keep else 0)
        text, self._held = self._held[:end], self._held[end:]
        return text

    def _undecided(self) -> int:
        """How many characters at the end are the beginning of a stop string."""
        longest = min(max(map(len, self._stop_strings), default=1) - 1, len(self._held))
        for length in range(longest, 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop_strings):
                return length
        return 0


class _Pieces:
    def push(self, token_id: int) -> str:
        raise NotImplementedError

    def finish(self) -> str:
        raise NotImplementedError


class _BytePieces(_Pieces):
    """Byte-level BPE: one stream of bytes; wrong ones become U+FFFD."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._begun = b""

    def push(self, token_id: int) -> str:
        piece = self._begun + self._tokenizer.token_bytes(token_id)
        text, used = codecs.utf_8_decode(piece, "replace")
        self._begun = piece[used:]
        return text

    def finish(self) -> str:
        return self._begun.decode(errors="replace")


class _FallbackPieces(_Pieces):
    """SentencePiece: a run of single bytes is text if all of it is UTF-8, else each byte is a U+FFFD.

    So a run is certain only when another token ends it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._run = b""
        self._strip_next = tokenizer.strips_first_space

    def push(self, token_id: int) -> str:
        piece = self._tokenizer.token_bytes(token_id)
        if not piece:  # an id the vocabulary lacks, which does not end a run
            return ""
        if self._tokenizer.is_fallback_byte(token_id):
            self._run += piece
            return ""
        return self._stripped(self._end_run() + piece.decode())

    def finish(self) -> str:
        return self._stripped(self._end_run())

    def _end_run(self) -> str:
        run, self._run = self._run, b""
        try:
            return run.decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(run)

    def _stripped(self, text: str) -> str:
        if text and self._strip_next:
            self._strip_next = False
            return text.removeprefix(" ")
        return text
