"""The cliff guard: does a request stand just past a length tier, and what would trimming it save?"""

from dataclasses import dataclass
from decimal import Decimal

from windowtax.price.sheet import PriceSheet, Usage

JUST_PAST = 0.1
"""A prompt is "just past" a cliff where at most this share of it must go to get back below. Assumed, not measured."""


@dataclass(frozen=True, kw_only=True)
class CliffGuard:
    """Where a call stands against the cliffs of its list. USD.

    past_tokens: the cliff it is past, None for none. trim_tokens: how many prompt tokens less bring it back to the
    lower rates, and trimmed_usd: what the call costs then. per_trimmed_token_usd: what each of these tokens saves.
    surcharge_usd: what the higher rates add to the very same call. even_tokens: the prompt length at which the call
    would cost as much as now if the lower rates went on: standing past the cliff is like carrying so many tokens.
    next_tokens: the cliff ahead, left_tokens: how far it is, next_jump_usd: what the first token past it costs.
    """

    past_tokens: int | None
    trim_tokens: int = 0
    trimmed_usd: Decimal = Decimal(0)
    saving_usd: Decimal = Decimal(0)
    surcharge_usd: Decimal = Decimal(0)
    even_tokens: int = 0
    just_past: bool = False
    next_tokens: int | None = None
    left_tokens: int = 0
    next_jump_usd: Decimal = Decimal(0)

    @property
    def per_trimmed_token_usd(self) -> Decimal:
        """Dollars that each trimmed token saves."""
        return self.saving_usd / self.trim_tokens if self.trim_tokens else Decimal(0)

    def sentences(self) -> list[str]:
        """The guard in words; nothing where the list has no cliff."""
        said: list[str] = []
        if self.past_tokens is not None:
            where = "just past" if self.just_past else "past"
            said.append(
                f"{where} the tier at {self.past_tokens:,} tokens: trimming {self.trim_tokens:,} prompt tokens saves "
                f"${self.saving_usd:,.4f} (${self.trimmed_usd:,.4f} instead); the tier itself adds "
                f"${self.surcharge_usd:,.4f}"
            )
        if self.next_tokens is not None:
            said.append(
                f"{self.left_tokens:,} tokens left before the tier at {self.next_tokens:,}; the first one past it "
                f"adds ${self.next_jump_usd:,.4f}"
            )
        return said


def cliff_guard(sheet: PriceSheet, usage: Usage, just_past: float = JUST_PAST) -> CliffGuard:
    """Where this call stands. Trimming drops fresh tokens first, then written, then cached ones (Usage.trimmed).

    Raises BadInput as PriceSheet.cost does.
    """
    passed, ahead = sheet.cliff(usage.prompt_tokens), sheet.next_cliff(usage.prompt_tokens)
    guard: dict[str, object] = {}
    if ahead is not None:
        left = ahead.above_tokens - usage.prompt_tokens
        longer = _longer(usage, left)
        jump = sheet.cost(_longer(usage, left + 1)).total_usd - sheet.cost(longer).total_usd
        guard |= {"next_tokens": ahead.above_tokens, "left_tokens": left, "next_jump_usd": jump}
    if passed is None:
        return CliffGuard(past_tokens=None, **guard)  # pyright: ignore[reportArgumentType]
    trim = usage.prompt_tokens - passed.above_tokens
    now, then = sheet.cost(usage).total_usd, sheet.cost(usage.trimmed(trim)).total_usd
    below = sheet.rates(passed.above_tokens)
    at_lower_rates = sheet.cost(usage, below).total_usd
    fresh = below.input or Decimal(0)
    return CliffGuard(
        past_tokens=passed.above_tokens,
        trim_tokens=trim,
        trimmed_usd=then,
        saving_usd=now - then,
        surcharge_usd=now - at_lower_rates,
        even_tokens=usage.prompt_tokens + (int((now - at_lower_rates) * 1_000_000 / fresh) if fresh else 0),
        just_past=trim <= just_past * usage.prompt_tokens,
        **guard,  # pyright: ignore[reportArgumentType]
    )


def _longer(usage: Usage, tokens: int) -> Usage:
    return Usage(
        prompt_tokens=usage.prompt_tokens + tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        write_5m_tokens=usage.write_5m_tokens,
        write_1h_tokens=usage.write_1h_tokens,
    )
