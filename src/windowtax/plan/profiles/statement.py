"""A figure of a page: no engine, so nothing is rounded. The profile reading is the architecture's own."""

from typing import ClassVar

from windowtax.plan.logs.record import StatementLog
from windowtax.plan.profiles.base import PROFILES, Allocation, Profile, Row, Rows, Subject


@PROFILES.register("statement")
class StatementProfile(Profile[StatementLog]):
    """What somebody wrote down."""

    name: ClassVar[str] = "statement"
    title: ClassVar[str] = "as written"

    def sequence(self, subject: Subject, context_tokens: int) -> Allocation:
        value = subject.whole.bytes_for(context_tokens)
        return Allocation(logical=value, bytes=value, why=())

    def read(self, subject: Subject, log: StatementLog) -> Rows:
        rows: list[Row] = []
        for figure, tokens in log.figures:
            value = subject.rank.bytes_for(tokens)
            rows.append(
                Row(
                    quantity=f"cache of {tokens:,} tokens",
                    unit="B",
                    logical=subject.whole.bytes_for(tokens),
                    profile=value,
                    measured=figure,
                    agrees=figure.shows(value),
                )
            )
        return Rows(rows=tuple(rows))
