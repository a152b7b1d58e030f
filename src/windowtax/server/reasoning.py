"""Thoughts before an answer: told from it by their marks, whole or as they come, and counted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from windowtax.base.errors import BadInput
from windowtax.engine.tokenizer import Tokenizer
from windowtax.server.toolcalls.deltas import Delta, PlainReader, Reader, ThoughtDelta, held_back

AUTO, NONE = "auto", "none"


@dataclass(frozen=True, slots=True)
class Thoughts:
    """How a model marks its thoughts. opened: the answer begins within them, because the prompt ends there."""

    begin: str
    end: str
    opened: bool = False

    def after(self, prompt: str) -> "Thoughts | None":
        """The same, behind a prompt; None where the prompt has closed them already."""
        told = prompt.rstrip()
        if told.endswith(self.end):
            return None
        return replace(self, opened=self.opened or told.endswith(self.begin))


_THINK = Thoughts("<think>", "</think>")
PARSERS = {
    "deepseek_r1": replace(_THINK, opened=True),
    "deepseek_v3": _THINK,
    "glm45": _THINK,
    "kimi_k2": _THINK,
    "minimax_m2": replace(_THINK, opened=True),
    "qwen3": _THINK,
    "mistral": Thoughts("[THINK]", "[/THINK]"),
    "seed_oss": Thoughts("<seed:think>", "</seed:think>"),
}
"""By the names that vLLM's --reasoning-parser has for them."""


def thoughts_of(parser: str, template: str | None) -> Thoughts | None:
    """The marks under a parser's name; AUTO: those that the chat template knows. Raises BadInput for other names."""
    if parser == AUTO:
        found = (replace(one, opened=False) for one in PARSERS.values() if one.end in (template or ""))
        return next(found, None)
    if parser != NONE and parser not in PARSERS:
        raise BadInput(f"There is no reasoning parser {parser!r}.", f"Write {AUTO}, {NONE}, {', '.join(PARSERS)}.")
    return PARSERS.get(parser)


class ThoughtReader:
    """Reads thoughts, and leaves the answer behind them to another reader. An answer may come without any.

    is_answering: the thoughts are over, or there are none. has_thought: there are some.
    """

    def __init__(self, marks: Thoughts, answer: Reader) -> None:
        self._marks, self._answer = marks, answer
        self._held = ""
        self._blank = False
        self.is_answering = self.has_thought = False

    def push(self, text: str) -> list[Delta]:
        """What is certain with this text and was not before."""
        self._held += text
        deltas: list[Delta] = []
        if not self.is_answering and not self.has_thought:
            self._begin()
        if self.has_thought and not self.is_answering:
            deltas += self._think()
        return deltas + self._pass_on() if self.is_answering else deltas

    def finish(self) -> list[Delta]:
        """What was held back."""
        thought, self._held = self._held, ""
        if self.is_answering:
            return self._answer.finish()
        if not self.has_thought:
            return [*self._answer.push(thought), *self._answer.finish()]
        return [ThoughtDelta(thought)] if thought.strip() else []

    def _begin(self) -> None:
        """Finds out whether there are thoughts."""
        begin, text = self._marks.begin, self._held.lstrip()
        if text.startswith(begin):
            self.has_thought, self._held = True, text.removeprefix(begin)
        elif not begin.startswith(text):
            self.has_thought, self.is_answering = self._marks.opened, not self._marks.opened
        self._blank = self.has_thought

    def _think(self) -> list[Delta]:
        """Blanks at either end of thoughts belong to nobody."""
        if self._blank:
            self._held = self._held.lstrip()
            self._blank = not self._held
        thought, mark, rest = self._held.partition(self._marks.end)
        if mark:
            self.is_answering = self._blank = True
            self._held, thought = rest, thought.rstrip()
        else:
            thought = thought[: len(thought) - held_back(thought, self._marks.end)].rstrip()
            self._held = self._held[len(thought) :]
        return [ThoughtDelta(thought)] if thought else []

    def _pass_on(self) -> list[Delta]:
        if self._blank:
            self._held = self._held.lstrip()
            self._blank = not self._held
        text, self._held = self._held, ""
        return self._answer.push(text) if text else []


class ThoughtCount:
    """How many of an answer's tokens were thoughts, their marks included, while it grows."""

    def __init__(self, tokenizer: Tokenizer, marks: Thoughts) -> None:
        self._tokenizer = tokenizer
        self._reader = ThoughtReader(marks, PlainReader())
        self._num_read = self._count = 0

    def of(self, token_ids: Sequence[int]) -> int:
        """token_ids: of the answer, as far as it is."""
        while self._num_read < len(token_ids) and not self._reader.is_answering:
            self._reader.push(self._tokenizer.token_text(token_ids[self._num_read]))
            self._num_read += 1
            self._count = self._num_read
        return self._count if self._reader.has_thought else 0


def thought_text(deltas: Sequence[Delta]) -> tuple[str, list[Delta]]:
    """The thoughts of a whole answer, and the rest of it."""
    thoughts = "".join(delta.text for delta in deltas if isinstance(delta, ThoughtDelta))
    return thoughts, [delta for delta in deltas if not isinstance(delta, ThoughtDelta)]
