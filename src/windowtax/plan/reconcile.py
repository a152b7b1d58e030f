"""Three readings of cache bytes in one table: what a model asks for, what an engine allocates, what was measured."""

from dataclasses import dataclass, replace
from typing import Any

from windowtax.base.errors import BadInput, UnknownName, UnsupportedModel
from windowtax.plan.differences import explain_difference
from windowtax.plan.logs.record import EngineLog
from windowtax.plan.profiles.base import PROFILES, Allocation, Profile, Row, Rows, Subject
from windowtax.spec.dtypes import CacheDtype, cache_dtype
from windowtax.spec.model import ModelSpec

SCHEMA_VERSION = 1
_RANKS_TRIED = (1, 2, 4, 8, 16, 32)
_FP8_LAYOUTS = ("fp8_ds_mla", "fp8_ds_mla+index:mxfp4")
"""What vLLM and SGLang make of fp8 for latent rows, beside one plain byte per number."""
_ENGINES = ("ours", "vllm", "sglang", "llamacpp")


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """A log beside its model. rows: each with its explanation. notes: what was assumed, and what holds for all rows."""

    subject: Subject
    engine: str
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the profile gives every measured figure, to the digits printed."""
        return all(row.agrees for row in self.rows)


def reconcile(spec: ModelSpec, log: EngineLog, dtype: CacheDtype, tensor_parallel: int | None = None) -> Reconciliation:
    """The three readings of a log. What the log says of dtype and ranks goes before what is given here.

    tensor_parallel: None for what the log says, or, where it is silent, the rank count that explains it best.
    Raises UnknownName for a cache dtype of the log that is not known here, BadInput where no rank count is possible.
    """
    notes: list[str] = []
    profile = PROFILES.get(log.engine)()
    ranks = tensor_parallel or log.tensor_parallel
    subject, found = _read(profile, spec, _dtypes(log, dtype), log, ranks)
    if log.cache_dtype is not None:
        notes.append(f"The log says that the cache is in {log.cache_dtype}, read as {subject.dtype.name}.")
    if ranks is None and subject.tensor_parallel > 1:
        notes.append(
            f"Assumed: {subject.tensor_parallel} tensor-parallel ranks, which explain the log best (--gpus N)."
        )
    if subject.tensor_parallel > 1:
        notes.append(_sharing(subject))
    return Reconciliation(
        subject=subject,
        engine=log.engine,
        title=profile.title,
        rows=tuple(_explained(subject, row) for row in found.rows),
        notes=(*notes, *found.notes),
    )


def engine_table(subject: Subject, context_tokens: int) -> list[tuple[str, Allocation | UnsupportedModel]]:
    """What one sequence of this length takes in each engine, on one rank; or why an engine has no such figure."""
    found: list[tuple[str, Allocation | UnsupportedModel]] = []
    for name in _ENGINES:
        profile = PROFILES.get(name)()
        try:
            found.append((profile.title, profile.sequence(subject, context_tokens)))
        except UnsupportedModel as error:
            found.append((profile.title, error))
    return found


def reconciliation_json(made: Reconciliation) -> dict[str, Any]:
    """The record of a reconciliation: bytes and counts exact, ratios as numbers."""
    subject = made.subject
    return {
        "schema_version": SCHEMA_VERSION,
        "model": subject.spec.name,
        "cache_dtype": subject.dtype.name,
        "tensor_parallel": subject.tensor_parallel,
        "copies_over_ranks": float(subject.copies),
        "engine": made.engine,
        "agrees": made.agrees,
        "rows": [
            {
                "quantity": row.quantity,
                "unit": row.unit,
                "logical": _number(row.logical),
                "profile": _number(row.profile),
                "measured": _number(row.measured.value),
                "printed": row.measured.text,
                "rounding": _number(row.measured.slack),
                "difference": _number(row.difference),
                "agrees": row.agrees,
                "explanation": row.note,
            }
            for row in made.rows
        ],
        "notes": list(made.notes),
    }


def _number(value: Any) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == int(value) else float(value)


def _dtypes(log: EngineLog, given: CacheDtype) -> tuple[CacheDtype, ...]:
    """The dtypes that the cache can be in: what the log says goes before what is given; "fp8" is several layouts."""
    if log.cache_dtype is None:
        return (given,)
    try:
        named = cache_dtype(log.cache_dtype)
    except UnknownName as error:
        raise UnknownName(
            f"The log says that the cache is in {log.cache_dtype!r}, which is not known here.", error.hint
        ) from None
    if named.name != "fp8":
        return (named,)
    meant = [given] if given.element.bits == named.element.bits else []
    return (*meant, named, *(cache_dtype(name) for name in _FP8_LAYOUTS))


def _read(
    profile: Profile[EngineLog], spec: ModelSpec, dtypes: tuple[CacheDtype, ...], log: EngineLog, ranks: int | None
) -> tuple[Subject, Rows]:
    """The first reading that explains every figure, by dtype and number of ranks; where none does, the nearest."""
    best: tuple[Subject, Rows] | None = None
    refused: BadInput | None = None
    for dtype in dtypes:
        for count in (ranks,) if ranks else _RANKS_TRIED:
            subject = Subject(spec, dtype, count)
            try:
                found = profile.read(subject, log)
            except BadInput as error:
                refused = refused or error
                continue
            if found.agrees:
                return subject, found
            if best is None or found.error < best[1].error:
                best = (subject, found)
    if best is None:
        raise refused or BadInput("No number of ranks fits this model.")
    return best


def _explained(subject: Subject, row: Row) -> Row:
    """The row with the cause of its difference; the profile's own sentence stays where it has one."""
    if row.agrees or row.explained or row.profile is None:
        return row
    cause = explain_difference(subject, row.profile, row.measured) if row.unit == "B" else None
    if cause is not None:
        return replace(row, note=cause, explained=True)
    return replace(row, note=f"Nothing known here explains the difference. {row.note}".strip())


def _sharing(subject: Subject) -> str:
    copies = float(subject.copies)
    if copies == 1:
        ranks = subject.tensor_parallel
        return f"{ranks} ranks share the heads evenly: each keeps 1/{ranks} of the cache."
    return (
        f"{subject.tensor_parallel} ranks together store {copies:g} times the architecture's bytes: heads that do not "
        "divide further, and what has no heads (MLA rows), are copied onto every rank."
    )
