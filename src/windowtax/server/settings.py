"""What the server is told once, at its start."""

from dataclasses import dataclass

from windowtax.base.units import MIB
from windowtax.price.api import PriceList, default_price_lists
from windowtax.server.normalize import NOTHING, Normalizer
from windowtax.server.reasoning import AUTO

DEFAULT_PRICE_LIST = default_price_lists()[-1]
"""The cheapest of the lists that bills show unasked: what a call here has to compete with."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """names: what the model is called in requests, the first in answers. chat_template: instead of the model's own.

    hosts: names under which a browser may reach an unprotected server; "*" for any. cors_origins: pages elsewhere that
    may ask. body_bytes: the longest request body. keep_alive_s: the longest silence in a stream. drain_s: how long
    running requests may go on when the server ends. usd_per_hour: of this machine; None where nobody said.
    price_list: the API that bills compare with. max_choices: the largest `n`. normalizer: what is changed in prompts.
    reasoning_parser, tool_call_parser: how answers are read, by vLLM's names; AUTO: as the chat template tells.
    """

    names: tuple[str, ...]
    chat_template: str | None = None
    hosts: tuple[str, ...] = ("*",)
    cors_origins: tuple[str, ...] = ()
    body_bytes: int = 64 * MIB
    body_timeout_s: float = 30.0
    keep_alive_s: float = 10.0
    drain_s: float = 30.0
    usd_per_hour: float | None = None
    price_list: PriceList = DEFAULT_PRICE_LIST
    max_choices: int = 128
    normalizer: Normalizer = NOTHING
    reasoning_parser: str = AUTO
    tool_call_parser: str = AUTO
