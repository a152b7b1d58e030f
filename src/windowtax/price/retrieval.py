"""Long context against retrieval: what a session costs in dollars, with and without the seller's cache.

A session is a list of calls (Usage), and every call is billed by the seller's sheet, so cliffs bite here too.
Long context sends the whole prefix every turn; with a cache the first turn writes it and later ones read it, or write
it again where it has died. Retrieval sends what it found, anew each turn. Two-step retrieval sends identifiers and
short previews of all matches and fetches only some in full. Summarisation tiers pay extra calls to keep themselves
current.
"""

from dataclasses import dataclass
from decimal import Decimal

from windowtax.base.errors import BadInput
from windowtax.price.sheet import PriceSheet, Usage


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Who asks how much: users, turns of a session, sessions of a user in a month. Raises BadInput."""

    users: int
    turns: int
    sessions_per_user_month: float = 1.0

    def __post_init__(self) -> None:
        if self.users < 1 or self.turns < 1 or self.sessions_per_user_month < 0:
            raise BadInput(
                f"{self.users:,} users with {self.sessions_per_user_month:g} sessions of {self.turns:,} turns "
                "make no sense.",
                "Give at least one user and one turn.",
            )

    def __str__(self) -> str:
        per_user = f"{self.users:,} users, {self.sessions_per_user_month:g} sessions a month of {self.turns} turns"
        return f"{per_user} = {self.calls:,.0f} calls a month"

    @property
    def sessions(self) -> float:
        """Sessions of all users in a month."""
        return self.users * self.sessions_per_user_month

    @property
    def calls(self) -> float:
        """Calls of all users in a month."""
        return self.sessions * self.turns


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn's call, what it is where the cached prefix has died (None: there is no cache), and calls beside it."""

    usage: Usage
    missed: Usage | None = None
    extra: Usage | None = None
    extra_calls: int = 0


@dataclass(frozen=True, kw_only=True)
class Session:
    """Turns of one way of answering. hit_rate: the share of later turns that still find their prefix."""

    name: str
    turns: tuple[Turn, ...]
    hit_rate: float = 1.0

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all turns, cached ones counted each time; extra calls not."""
        return sum(turn.usage.prompt_tokens for turn in self.turns)

    def usd(self, sheet: PriceSheet) -> Decimal:
        """Dollars of the session. Raises BadInput as PriceSheet.cost does."""
        hit = Decimal(repr(self.hit_rate))
        total = Decimal(0)
        for turn in self.turns:
            cost = sheet.cost(turn.usage).total_usd
            if turn.missed is not None:
                cost = hit * cost + (1 - hit) * sheet.cost(turn.missed).total_usd
            if turn.extra is not None:
                cost += turn.extra_calls * sheet.cost(turn.extra).total_usd
            total += cost
        return total


@dataclass(frozen=True, kw_only=True)
class SessionBill:
    """A session's dollars: per call (the mean of its turns), per session, per month of all the traffic."""

    name: str
    prompt_tokens: int
    per_call_usd: Decimal
    session_usd: Decimal
    month_usd: Decimal


def session_bill(session: Session, sheet: PriceSheet, traffic: Traffic) -> SessionBill:
    """The bill of one way of answering for this traffic. Raises BadInput as Session.usd does."""
    usd = session.usd(sheet)
    return SessionBill(
        name=session.name,
        prompt_tokens=session.prompt_tokens,
        per_call_usd=usd / len(session.turns),
        session_usd=usd,
        month_usd=usd * Decimal(repr(traffic.sessions)),
    )


@dataclass(frozen=True, kw_only=True)
class Talk:
    """What a turn adds: tokens of the question and of the answer. history: earlier turns stay in the prompt."""

    question_tokens: int = 0
    output_tokens: int = 0
    history: bool = False

    def before(self, turn: int) -> int:
        """Tokens of earlier questions and answers in the prompt of that turn, counted from 0."""
        return turn * (self.question_tokens + self.output_tokens) if self.history else 0


def long_context(prefix_tokens: int, turns: int, talk: Talk) -> Session:
    """The whole prefix every turn, no cache."""
    return Session(
        name="long context, no cache",
        turns=tuple(
            Turn(
                usage=Usage(
                    prompt_tokens=prefix_tokens + talk.before(turn) + talk.question_tokens,
                    output_tokens=talk.output_tokens,
                )
            )
            for turn in range(turns)
        ),
    )


def cached_long_context(
    prefix_tokens: int, turns: int, talk: Talk, *, write: str = "5m", hit_rate: float = 1.0
) -> Session:
    """The prefix in the seller's cache: the first turn writes it, each later one reads it if it still lives.

    write: "5m", "1h", or "auto" for sellers that cache by themselves and charge no write. What earlier turns added is
    written with its turn and read later, as the prefix is. Raises BadInput on another write or hit rate.
    """
    if write not in {"5m", "1h", "auto"} or not 0 <= hit_rate <= 1:
        raise BadInput(f"A {write!r} write with a hit rate of {hit_rate:g} makes no sense.", "Writes: 5m, 1h, auto.")
    found: list[Turn] = []
    for turn in range(turns):
        kept = prefix_tokens + talk.before(turn)
        old = prefix_tokens + talk.before(turn - 1) + (talk.question_tokens if talk.history else 0) if turn else 0
        missed = _written(kept, 0, talk, write)
        found.append(Turn(usage=_written(kept, old, talk, write), missed=missed) if turn else Turn(usage=missed))
    life = {"5m": "5 min cache", "1h": "1 h cache", "auto": "automatic cache"}[write]
    return Session(name=f"long context, {life}", turns=tuple(found), hit_rate=hit_rate)


def _written(kept: int, old: int, talk: Talk, write: str) -> Usage:
    """A call that reads `old` tokens and writes the rest of the `kept` ones; with history, its own question too."""
    new = kept - old + (talk.question_tokens if talk.history else 0)
    return Usage(
        prompt_tokens=kept + talk.question_tokens,
        output_tokens=talk.output_tokens,
        cached_tokens=old,
        write_5m_tokens=new if write == "5m" else 0,
        write_1h_tokens=new if write == "1h" else 0,
    )


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """How retrieval fills a prompt: matches in full (record_tokens each), or previews of all and some fetched."""

    matches: int = 10
    record_tokens: int = 1500
    preview_tokens: int = 45
    fetched: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens that a step puts into the prompt."""
        if self.fetched is None:
            return self.matches * self.record_tokens
        return self.matches * self.preview_tokens + self.fetched * self.record_tokens


def retrieval(injected_tokens: int, turns: int, talk: Talk, *, stays: bool = False, name: str = "retrieval") -> Session:
    """What was found, anew each turn. stays: injected text stays in the prompt and is billed again on later turns."""
    return Session(
        name=name,
        turns=tuple(
            Turn(
                usage=Usage(
                    prompt_tokens=injected_tokens * (turn + 1 if stays else 1)
                    + talk.before(turn)
                    + talk.question_tokens,
                    output_tokens=talk.output_tokens,
                )
            )
            for turn in range(turns)
        ),
    )


def with_extra_calls(session: Session, calls: int, usage: Usage) -> Session:
    """The same session where every turn pays so many further calls, such as those that keep summaries current."""
    turns = tuple(Turn(usage=turn.usage, missed=turn.missed, extra=usage, extra_calls=calls) for turn in session.turns)
    return Session(name=f"{session.name} + {calls} calls", turns=turns, hit_rate=session.hit_rate)


def call_ratio(sheet: PriceSheet, long_tokens: int, short_tokens: int, output_tokens: int) -> Decimal:
    """What a long call costs over a short one with the same output. Raises BadInput where the short one is free."""
    short = sheet.cost(Usage(prompt_tokens=short_tokens, output_tokens=output_tokens)).total_usd
    if not short:
        raise BadInput("The short call costs nothing, so there is no ratio.")
    return sheet.cost(Usage(prompt_tokens=long_tokens, output_tokens=output_tokens)).total_usd / short


def output_for_ratio(sheet: PriceSheet, long_tokens: int, short_tokens: int, ratio: float) -> float | None:
    """The output tokens at which a long call costs `ratio` times a short one; None where no output does.

    (L p + o q) = R (s p + o q), so o = (L p_L - R s p_s) / (R q_s - q_L), each side by its own tier's rates.
    """
    long, short = sheet.rates(long_tokens), sheet.rates(short_tokens)
    if None in (long.input, long.output, short.input, short.output):
        return None
    p_long, q_long, p_short, q_short = (
        float(rate or 0) for rate in (long.input, long.output, short.input, short.output)
    )
    below = ratio * q_short - q_long
    found = (long_tokens * p_long - ratio * short_tokens * p_short) / below if below else -1.0
    return found if found >= 0 else None
