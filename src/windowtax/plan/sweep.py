"""A sweep: the same plan over a row of context lengths, and the bars that draw it in a terminal."""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.plan.plan import Plan, PlanOptions, make_plan
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MOST_POINTS = 64


def parse_contexts(text: str) -> list[int]:
    """Context lengths from "4K..1M" (each twice the one before, the end included) or "8K,32K,100000".

    Raises BadInput.
    """
    hint = "Write a range as 4K..1M (doubling) or a list as 8K,32K,128K."
    if ".." in text:
        first_text, _, last_text = text.partition("..")
        first, last = _tokens(first_text, text, hint), _tokens(last_text, text, hint)
        if first > last:
            raise BadInput(f"{text!r} runs backwards.", hint)
        found = [first]
        while found[-1] * 2 <= last:
            found.append(found[-1] * 2)
        if found[-1] != last:
            found.append(last)
    else:
        found = sorted({_tokens(part, text, hint) for part in text.split(",")})
    if len(found) > _MOST_POINTS:
        raise BadInput(f"{text!r} asks for {len(found)} context lengths; {_MOST_POINTS} are the most.", hint)
    return found


def _tokens(part: str, text: str, hint: str) -> int:
    if not part.strip():
        raise BadInput(f"{text!r} leaves a context length out.", hint)
    return parse_tokens(part)


def sweep(
    spec: ModelSpec, hardware: Hardware, workload: Workload, contexts: list[int], options: PlanOptions = PlanOptions()
) -> tuple[Plan, ...]:
    """One plan per context length; without a fixed number of accelerators each takes the fewest that hold it.

    Output tokens stay as in `workload`, or half the context where that is less. Raises as make_plan does.
    """
    return tuple(make_plan(spec, hardware, at_context(workload, tokens), options) for tokens in contexts)


def at_context(workload: Workload, context_tokens: int) -> Workload:
    """The workload at another context length, with room kept for a prompt."""
    output = min(workload.output_tokens, max(1, context_tokens // 2))
    cached = min(workload.cached_tokens, context_tokens - output - 1)
    return replace(workload, context_tokens=context_tokens, output_tokens=output, cached_tokens=cached)


def bar(value: float, largest: float, width: int) -> str:
    """A bar of block characters, `width` of them for `largest`, in steps of an eighth; at least a sliver above 0."""
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(1, round(value / largest * width * 8))
    full, rest = divmod(min(eighths, width * 8), 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")
