"""Why a prompt was not read from the cache as far as it could have been: which token, from where, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.engine.request import Request
from windowtax.engine.tokenizer import Tokenizer
from windowtax.server.errors import Json

_AROUND_TOKENS = 12


@dataclass(frozen=True, kw_only=True)
class PromptParts:
    """Where the parts of a prompt's text begin and end: (name, begin, end), in characters, in order."""

    parts: tuple[tuple[str, int, int], ...] = ()

    @classmethod
    def of(cls, text: str, messages: Sequence[Json], tool_names: Sequence[str]) -> "PromptParts":
        """Finds each message's content in the rendered text; what lies between belongs to the template or the tools."""
        parts: list[tuple[str, int, int]] = []
        cursor = 0
        if tool_names:
            places = [text.find(f'"{name}"') for name in tool_names]
            if min(places) >= 0:
                parts.append(("tools", min(places), max(places)))
        for place, message in enumerate(messages):
            content = message.get("content")
            begin = text.find(content, cursor) if isinstance(content, str) and content else -1
            if begin >= 0:
                cursor = begin + len(str(content))
                parts.append((f"messages[{place}] ({message.get('role')})", begin, cursor))
        return cls(parts=tuple(sorted(parts, key=lambda part: part[1])))

    def at(self, offset: int) -> str:
        """The name of the part that holds a character, or between which ones it lies."""
        before = "the chat template"
        for name, begin, end in self.parts:
            if begin <= offset < end:
                return name
            if offset < begin:
                break
            before = f"the chat template, after {name}"
        return before


def explain(tokenizer: Tokenizer, request: Request, parts: PromptParts, seconds_per_token: float | None) -> Json | None:
    """The miss of a request; None where nothing is kept, or nothing was missed. Seconds are an estimate."""
    miss = request.miss
    if miss is None:
        return None
    prompt = request.sequence.token_ids[: request.sequence.num_prompt_tokens]
    lost = max(0, len(prompt) - 1 - request.num_cached_tokens)
    around = prompt[max(0, miss.position - _AROUND_TOKENS) : miss.position]
    return {
        "reason": miss.reason.name.lower(),
        "meaning": str(miss.reason),
        "position": miss.position,
        "where": parts.at(len(tokenizer.decode(prompt[: miss.position], False))),
        "after": tokenizer.decode(around, False),
        "kept_token": None if miss.kept_token is None else tokenizer.token_text(miss.kept_token),
        "token": None if miss.token is None else tokenizer.token_text(miss.token),
        "computed_tokens": lost,
        "computed_s_estimate": None if seconds_per_token is None else lost * seconds_per_token,
    }
