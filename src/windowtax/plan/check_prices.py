"""What a number of dollars may be: calls at lists whose model the sentence names, on the days when they changed."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.plan.check_readings import Reading
from windowtax.plan.check_words import Words
from windowtax.price.api import api_bill
from windowtax.price.lists import price_changes
from windowtax.price.xray.shape import listed_models

_OUTPUT = re.compile(r"(?:and|\+|with|plus)?\s*(\d[\d,]*)\s*(?:output|generated|completion)", re.IGNORECASE)
_ITS_OWN = ("anthropic", "openai", "google", "x-ai", "deepseek", "moonshotai", "zai", "minimax", "mistral", "meta")
"""Makers, whose own lists are meant unless a sentence says otherwise."""


def price_readings(words: Words) -> Iterator[Reading]:
    """Bills of one call at every list that the sentence may mean. Raises BadInput where it names none, or no length."""
    lists = _lists(words.rest, words.models)
    if not lists or words.context is None:
        raise BadInput(
            "A number of dollars is checked against price lists: the sentence must name a listed model and a length.",
            'Such as "$1.28 at 256K on GPT-5.5".',
        )
    match = _OUTPUT.search(words.rest)
    output = int(match.group(1).replace(",", "")) if match else 0
    for provider, model in lists:
        for day, note in _days(provider, model):
            for tokens in words.context.tokens:
                try:
                    bill = api_bill(provider, model, tokens, output, at=day)
                except WindowtaxError:
                    continue
                base = Reading(
                    value=float(bill.total_usd) * words.users,
                    formula=f"one call at {provider}/{model}" + (f", {words.users} times" if words.users > 1 else ""),
                    model=model,
                    dtype="",
                    context_tokens=tokens,
                )
                base = base if output else base.assume("input only", 0)
                base = base if tokens == 1000 * round(tokens / 1000) else base.assume(f"{tokens:,} tokens")
                base = base.assume(note) if note else base
                yield base if provider in _ITS_OWN else base.assume(f"at the price of {provider}")


def _days(provider: str, model: str) -> list[tuple[datetime, str]]:
    """Now, and a day in each earlier span of the list's prices."""
    now = datetime.now(tz=UTC)
    found: list[tuple[datetime, str]] = [(now, "")]
    for change in price_changes(provider, model):
        moment = change if change.tzinfo else change.replace(tzinfo=UTC)
        if moment <= now:
            day = moment - timedelta(days=1)
            found.append((day, f"at the price before {moment.date().isoformat()}"))
    return found


def _lists(rest: str, models: tuple[str, ...]) -> list[tuple[str, str]]:
    """(provider, model) of every list whose model's name stands in the sentence; the longest names only."""
    plain = _plain(f"{rest} {' '.join(models)}")
    found = [(provider, model) for provider, model in listed_models() if _plain(model.split("/")[-1]) in plain]
    longest = max((len(_plain(model.split("/")[-1])) for _, model in found), default=0)
    return [(provider, model) for provider, model in found if len(_plain(model.split("/")[-1])) == longest]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())
