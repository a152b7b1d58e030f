"""What a call costs on machines of one's own: machine seconds times the price of a machine second."""

from dataclasses import dataclass

from windowtax.base.errors import BadInput

SECONDS_PER_HOUR = 3600
MTOK = 1_000_000


@dataclass(frozen=True, kw_only=True)
class OwnBill:
    """Dollars of one call, its prompt's and its output's part, and what that is per million tokens."""

    prompt_usd: float
    output_usd: float
    usd_per_mtok_prompt: float
    usd_per_mtok_output: float

    @property
    def total_usd(self) -> float:
        """Dollars of the call."""
        return self.prompt_usd + self.output_usd


def own_bill(
    usd_per_hour: float,
    *,
    prefill_s: float,
    decode_s: float,
    prompt_tokens: int,
    output_tokens: int,
    sharers: int = 1,
) -> OwnBill:
    """The bill of one call on machines that cost `usd_per_hour` together.

    A prefill has the machines for itself for `prefill_s`. A decode of `decode_s` shares every step with `sharers`
    sequences, itself included, and pays its share. Waiting machines are not on this bill. Raises BadInput.
    """
    if sharers < 1 or usd_per_hour < 0:
        raise BadInput(f"{sharers} sharers at {usd_per_hour:g} USD per hour make no sense.")
    second = usd_per_hour / SECONDS_PER_HOUR
    prompt_usd, output_usd = prefill_s * second, decode_s / sharers * second
    return OwnBill(
        prompt_usd=prompt_usd,
        output_usd=output_usd,
        usd_per_mtok_prompt=prompt_usd / prompt_tokens * MTOK if prompt_tokens else 0.0,
        usd_per_mtok_output=output_usd / output_tokens * MTOK if output_tokens else 0.0,
    )


def usd_for_seconds(usd_per_hour: float, seconds: float) -> float:
    """What having a machine for so many seconds costs, busy or not."""
    return usd_per_hour / SECONDS_PER_HOUR * seconds
