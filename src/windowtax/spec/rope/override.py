"""Reads the command line's --rope: a scaling laid over a model that was not trained with it."""

import re
from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.spec.rope.base import ROPE_SCALINGS, Rope, RopeScaling
from windowtax.spec.rope.none import NoScaling

_FORM = re.compile(r"(?P<name>\w+)(?::(?P<argument>[^@:]+)(?:@(?P<original>[^@:]+))?)?")


def parse_rope_override(text: str, rope: Rope, context_tokens: int) -> Rope:
    """`rope` with the scaling that `text` names in place of its own: "yarn:4", "yarn:4@8192", "none".

    context_tokens: the length the model was trained at; "@8192" replaces it. A model that already has a scaling needs
    the "@", because its own length is not the one the new scaling starts from. Raises BadInput.
    """
    match = _FORM.fullmatch(text.strip())
    scaling_class = _scaling_written(match["name"]) if match else None
    if match is None or scaling_class is None:
        raise BadInput(f"{text!r} is not a RoPE scaling.", _forms())
    if rope.scaling.whole_head:
        raise BadInput(
            f"This model's RoPE ({rope.scaling.describe()}) is part of its architecture; {text!r} cannot replace it.",
            "Leave --rope away.",
        )
    argument, original = match["argument"] or "", match["original"]
    if argument and original is None and not isinstance(rope.scaling, NoScaling):
        raise BadInput(
            f"This model already has a RoPE scaling ({rope.scaling.describe()}), which {text!r} would replace.",
            f"Say from which trained length the new one starts, as in {text.strip()}@8192.",
        )
    try:
        length = parse_tokens(original) if original else context_tokens
        return replace(rope, scaling=scaling_class.from_text(argument, length))
    except BadInput as error:
        raise BadInput(f"{text!r} is not a RoPE scaling: {error.message}", _forms()) from error


def _scaling_written(name: str) -> type[RopeScaling] | None:
    return ROPE_SCALINGS.get(name) if name in ROPE_SCALINGS else None


def _forms() -> str:
    examples = [scaling.example for _, scaling in ROPE_SCALINGS.items() if scaling.example]
    return f"Write one of {', '.join(examples)}; yarn:4@8192 also gives the length the model was trained at."
