"""The tables of the README, out of results.json."""

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.kit.page import figure, measured_on, table
from benchmarks.speculation.cells import pieces
from benchmarks.speculation.questions import questions

Rounds = Mapping[str, list[dict[str, Any]]]
HEAD = [
    "question", "prompt", "answer", "tokens/s without", "with guesses", "times as fast", "steps", "guessed", "right",
    "same tokens",
]  # fmt: skip


def tables(rounds: Rounds) -> str:
    """All that was measured."""
    chosen = [piece for piece in pieces() if rounds.get(piece.key)]
    out = [measured_on([one for piece in chosen for one in rounds[piece.key]]) + "."]
    for piece in chosen:
        found = rounds[piece.key]
        rows = [row(question.name, [one[question.name] for one in found]) for question in questions()]
        out += [f"### {piece.key}", table(HEAD, rows)]
    return "\n\n".join(out)


def row(name: str, found: list[dict[str, Any]]) -> list[str]:
    """One question: medians of times over the rounds; counts, which do not change, of the last one."""
    rates = {side: 1 / statistics.median(one["tpot_s"][side] for one in found) for side in ("without", "with")}
    last = found[-1]
    return [
        name,
        f"{last['prompt_tokens']:,}",
        str(last["answer_tokens"]),
        figure(rates["without"]),
        figure(rates["with"]),
        figure(rates["with"] / rates["without"]),
        str(last["steps"]),
        str(last["drafted"]),
        str(last["accepted"]),
        same(last["parting"]),
    ]


def same(parting: dict[str, float] | None) -> str:
    """Whether both ways gave the same tokens; else up to which one, and how near the two likeliest were there."""
    return "all" if parting is None else f"{parting['token']:.0f}, then {parting['nats']:.2f} nats apart"
