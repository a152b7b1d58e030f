"""What can be read off the market about one list: who else has this threshold, and what it goes with."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from windowtax.price.xray.data import rows, typed_list
from windowtax.price.xray.shape import PriceShape, Tier, brand, shapes, tier_removed_on

SAME_WINDOW = 0.03
"""A threshold this close to a window counts as that window: 256,000 for 262,144."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One threshold of one list, and the facts that speak for or against an explanation of it.

    same_seller: other models of the seller with this threshold, with their base prices. elsewhere: the same model at
    other sellers with another threshold, or with none. flattened: models of the seller that lost their tier, and the
    day. untiered: models of the seller with windows beyond the threshold and no tier. window: one that stands at it.
    """

    shape: PriceShape
    tier: Tier
    same_seller: tuple[PriceShape, ...]
    elsewhere: tuple[PriceShape, ...]
    untiered: tuple[PriceShape, ...]
    window: str
    flattened: tuple[tuple[str, str], ...]

    @property
    def price_range(self) -> tuple[float, float]:
        """Lowest and highest base input price of the seller's models with this threshold, this one included."""
        prices = [shape.input_usd_per_mtok for shape in (self.shape, *self.same_seller)]
        return min(prices), max(prices)

    @property
    def shared(self) -> bool:
        """Whether models of clearly different price share the threshold: then it is the seller's, not the model's."""
        low, high = self.price_range
        return len(self.same_seller) >= 1 and high >= 2 * low

    @property
    def one_step(self) -> bool:
        """Whether input and output rise by the same factor, as they would if the request moved to other machines."""
        return self.tier.output_step is not None and abs(self.tier.output_step / self.tier.input_step - 1) < 0.01


def find(shape: PriceShape, tier: Tier, at: datetime | None = None) -> Findings:
    """Everything known about one tier, by the lists of a moment (now unless given)."""
    mine = [one for one in shapes(shape.provider, of_brand=brand(shape.key), at=at) if one.key != shape.key]
    elsewhere = [one for one in shapes(key=shape.key, at=at) if one.provider != shape.provider]
    return Findings(
        shape=shape,
        tier=tier,
        same_seller=tuple(one for one in mine if has_threshold(one, tier.threshold_tokens)),
        elsewhere=_once(one for one in elsewhere if not has_threshold(one, tier.threshold_tokens)),
        untiered=tuple(
            one for one in mine if not one.tiers and (one.context_window_tokens or 0) > 2 * tier.threshold_tokens
        ),
        window=window_at(shape.key, tier.threshold_tokens),
        flattened=flattened(mine, at),
    )


def has_threshold(shape: PriceShape, tokens: int) -> bool:
    """Whether a list steps at exactly this many tokens."""
    return any(tier.threshold_tokens == tokens for tier in shape.tiers)


def window_at(key: str, tokens: int) -> str:
    """The window that stands at this threshold for a model of this plain name, with its source; "" for none."""
    for entry in rows("windows", "window"):
        starts, window = typed_list(entry, "match", str), entry.take("tokens", int)
        if key.startswith(starts) and abs(tokens / window - 1) <= SAME_WINDOW:
            return f"{window:,} tokens: {entry.take('what', str)} ({entry.take('source', str)})"
    return ""


def flattened(mine: Iterable[PriceShape], at: datetime | None) -> tuple[tuple[str, str], ...]:
    """(model, day) of the seller's lists that lost their tiers while the model stayed: a natural experiment."""
    flat = [one for one in mine if not one.tiers]
    found = [(one.model, tier_removed_on(one.provider, one.model, at)) for one in flat]
    return tuple((model, day) for model, day in found if day)


def _once(shapes: Iterable[PriceShape]) -> tuple[PriceShape, ...]:
    """One per seller and set of thresholds."""
    found: dict[tuple[str, tuple[int, ...]], PriceShape] = {}
    for shape in shapes:
        found.setdefault((shape.provider, tuple(tier.threshold_tokens for tier in shape.tiers)), shape)
    return tuple(found.values())
