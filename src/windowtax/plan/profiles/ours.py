"""This engine: a pool of whole blocks per layer group, with the room a prefill chunk takes inside a window.

cache/manager.py and store/kv.py do it; the counts are CacheLayout.peak_blocks. A bill tells what was allocated.
"""

from typing import ClassVar

from windowtax.plan.logs.record import BillLog, counted
from windowtax.plan.profiles.base import PROFILES, Allocation, Profile, Row, Rows, Subject
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS


@PROFILES.register("ours")
class OurProfile(Profile[BillLog]):
    """windowtax's own engine."""

    name: ClassVar[str] = "ours"
    title: ClassVar[str] = "windowtax"

    def sequence(self, subject: Subject, context_tokens: int) -> Allocation:
        layout = subject.rank
        return Allocation(
            logical=layout.bytes_for(context_tokens),
            bytes=layout.pool_bytes_for(context_tokens, DEFAULT_STEP_TOKENS),
            why=_why(subject),
        )

    def read(self, subject: Subject, log: BillLog) -> Rows:
        layout = subject.rank
        # The last output token is sampled, never computed, so never stored.
        stored = log.num_prompt_tokens + log.num_output_tokens - 1
        held = layout.peak_blocks_of_run(log.num_prompt_tokens, log.num_output_tokens, DEFAULT_STEP_TOKENS)
        measures = (
            (
                f"pool, admitted for {log.context_tokens:,} tokens",
                layout.bytes_for(log.context_tokens),
                layout.pool_bytes_for(log.context_tokens, DEFAULT_STEP_TOKENS),
                log.pool_bytes,
            ),
            (
                f"held at the peak, {stored:,} tokens stored",
                layout.bytes_for(stored),
                layout.pool_bytes(held),
                log.held_bytes,
            ),
        )
        note = " ".join(_why(subject))
        return Rows(
            rows=tuple(
                Row(
                    quantity=quantity,
                    unit="B",
                    logical=logical,
                    profile=profile,
                    measured=counted(measured, "B"),
                    agrees=profile == measured,
                    note=note if logical != profile else "",
                )
                for quantity, logical, profile, measured in measures
            )
        )


def _why(subject: Subject) -> tuple[str, ...]:
    layout = subject.rank
    said = [f"Whole blocks of {layout.block_size} tokens."]
    if layout.window_bytes:
        said.append(f"Windows keep room for the {DEFAULT_STEP_TOKENS:,} tokens of a prefill step beside the window.")
    if layout.workspace_bytes:
        said.append(f"With {layout.workspace_bytes:,} B of workspace while a sequence is computed.")
    return tuple(said)
