"""`windowtax classify`: a technique's path, the term it moves, and its worth by the equation with and without it."""

from dataclasses import asdict, dataclass
from typing import Any

from windowtax.base.errors import BadInput, UnknownName
from windowtax.plan.fit import Sizing
from windowtax.plan.techniques.base import PATHS, TECHNIQUES, State, Technique, Worth, worth

_MOST_CHIPS = 1024
_LESS_IS_BETTER = (
    "cache_bytes",
    "read_bytes",
    "weight_bytes",
    "ttft_s",
    "token_s",
    "steady_token_s",
    "gap_s",
    "usd_per_mtok",
    "usd_per_mtok_full",
)


@dataclass(frozen=True, kw_only=True)
class Classified:
    """A technique with both worths. factors: how many times better, by figure; None where one side has none."""

    technique: Technique
    change: str
    without: Worth
    with_it: Worth

    @property
    def factors(self) -> dict[str, float | None]:
        """Above 1: better with it. sweet_spot_batch: how far B* moves, neither better nor worse."""
        before, after = asdict(self.without), asdict(self.with_it)
        found: dict[str, float | None] = {}
        for name in before:
            old, new = before[name], after[name]
            if name in _LESS_IS_BETTER:
                old, new = new, old
            found[name] = new / old if old and new is not None else None
        return found


def base_state(sizing: Sizing, chips: int | None) -> State:
    """So many chips as one machine; None: the fewest (1, 2, 4 ...) that hold the weights and one window.

    Raises BadInput.
    """
    if chips is not None:
        if chips < 1:
            raise BadInput(f"{chips} accelerators make no machine.", "Give --gpus a whole number from 1.")
        return State.pooled(sizing, chips)
    count = 1
    while count <= _MOST_CHIPS:
        state = State.pooled(sizing, count)
        if state.sizing.most_users(1, 1):
            return state
        count *= 2
    raise BadInput(f"Not even {_MOST_CHIPS} accelerators hold one window.", "Take a shorter --context.")


def classify(name: str, state: State) -> Classified:
    """One technique on one machine. Raises UnknownName, and BadInput where model or machine has no use for it."""
    found = TECHNIQUES.get(name.lower())
    pair = found.states(state)
    return Classified(technique=found, change=pair.change, without=worth(pair.without), with_it=worth(pair.with_it))


def classify_all(state: State) -> tuple[list[Classified], dict[str, str]]:
    """Every technique that model and machine have a use for, and why the others are missing."""
    found: list[Classified] = []
    missing: dict[str, str] = {}
    for name in TECHNIQUES.names():
        try:
            found.append(classify(name, state))
        except (BadInput, UnknownName) as error:
            missing[name] = error.message
    return sorted(found, key=lambda one: (one.technique.paths, one.technique.name)), missing


def classified_json(one: Classified) -> dict[str, Any]:
    """As plain JSON values; bytes are integers, times s, money USD."""
    made = one.technique
    return {
        "technique": made.name,
        "title": made.title,
        "paths": list(made.paths),
        "path_names": [PATHS[path] for path in made.paths],
        "term": made.term,
        "article": made.article or None,
        "source": made.source,
        "change": one.change,
        "without": asdict(one.without),
        "with": asdict(one.with_it),
        "factors": one.factors,
        "basis": "derived",
    }
