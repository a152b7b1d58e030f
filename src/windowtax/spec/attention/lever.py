"""Levers over full attention, as a person writes them: `full=sinks:4+window:4096`, `full=window:4096`,
`full=topk:64+block:16`.

A lever changes what layers of one kind keep or read without any training for it; planner and engine see the changed
spec.
"""

from dataclasses import fields
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.block_topk import MEAN, MIN_MAX, BlockTopKAttention
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.sinks_window import SinksWindowAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.attention.softmax import SoftmaxAttention

HINT = "Write full=sinks:4+window:4096, full=window:4096, or full=topk:64+block:16 (and +summary:mean for MoBA)."
_SUMMARIES = {"minmax": MIN_MAX, "mean": MEAN}
_QUEST_BLOCK = 16


def lever(text: str, full: FullAttention) -> AttentionKind:
    """What a layer of full attention becomes under the lever behind `full=`. Raises BadInput."""
    chosen: dict[str, str] = {}
    for part in text.split("+"):
        what, _, value = part.partition(":")
        if what in chosen or not value:
            raise BadInput(f"{part!r} in the attention lever {text!r} cannot be read.", HINT)
        chosen[what] = value
    dressing: dict[str, Any] = {field.name: getattr(full, field.name) for field in fields(SoftmaxAttention)}
    match sorted(chosen):
        case ["window"]:
            return SlidingAttention(**dressing, window_tokens=parse_tokens(chosen["window"]))
        case ["sinks", "window"]:
            sinks, window = parse_tokens(chosen["sinks"]), parse_tokens(chosen["window"])
            return SinksWindowAttention(**dressing, sink_tokens=sinks, window_tokens=window)
        case ["topk"] | ["block", "topk"] | ["summary", "topk"] | ["block", "summary", "topk"]:
            return BlockTopKAttention(
                **dressing,
                top_k_blocks=parse_tokens(chosen["topk"]),
                block_tokens=parse_tokens(chosen.get("block", str(_QUEST_BLOCK))),
                summary=_summary(chosen.get("summary", "minmax")),
            )
        case _:
            raise BadInput(f"{text!r} is no attention lever.", HINT)


def _summary(name: str) -> tuple[str, ...]:
    if name not in _SUMMARIES:
        raise BadInput(f"{name!r} is no block summary; there are {', '.join(_SUMMARIES)}.", HINT)
    return _SUMMARIES[name]
