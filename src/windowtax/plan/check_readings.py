"""What a number about a model may be: readings, each a value with the assumptions that it needs and what they cost.

A reading costs nothing where the sentence says it; every assumption that it does not say costs 1, an unusual one 2. Of
two readings that give the same number the cheaper one is the likelier meaning.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from windowtax.base.errors import WindowtaxError
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.plan.check_words import Words
from windowtax.plan.claims.of_cache import dtype_of, mha_layout, served_per_token, served_total
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS
from windowtax.plan.roofline import Rank, decode_floor, prefill_floor
from windowtax.plan.schemes import CHECKPOINT, weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.spec.cache import CacheLayout
from windowtax.spec.model import ModelSpec

DTYPES_TRIED = (
    "bf16",
    "fp8",
    "int8",
    "int4",
    "4-bit",
    "fp8_ds_mla",
    "fp8_ds_mla+index:mxfp4",
    "nvfp4",
    "q8_0",
    "q4_0",
    "fp32",
)
"""Cache dtypes that are tried where a sentence names none, the usual one first."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One meaning. value: in the base unit (B, s, USD, or plain). formula: in words. basis of all is derived."""

    value: float
    formula: str
    model: str
    dtype: str
    context_tokens: int | None
    assumptions: tuple[str, ...] = ()
    cost: int = 0

    def assume(self, text: str, cost: int = 1) -> "Reading":
        """The same with one more assumption."""
        return replace(self, assumptions=(*self.assumptions, text), cost=self.cost + cost)


def readings(words: Words, models: Iterable[str]) -> Iterator[Reading]:
    """Every meaning of the sentence's kind of quantity, for each of these models."""
    named = words.models
    for name in models:
        try:
            spec = read_model(name)
            found = list(_of_kind(words, spec))
        except WindowtaxError:
            continue
        for reading in found:
            yield reading if name in named or not named else reading.assume(f"the model is {name}")


def _of_kind(words: Words, spec: ModelSpec) -> Iterator[Reading]:
    if words.quantity.kind == "bytes":
        yield from _bytes(words, spec)
    elif words.quantity.kind == "seconds":
        yield from _seconds(words, spec)
    else:
        yield from _ratios(words, spec)


# --- bytes ----------------------------------------------------------------------------------------------------


def _bytes(words: Words, spec: ModelSpec) -> Iterator[Reading]:
    names = (words.dtype,) if words.dtype else DTYPES_TRIED
    for index, dtype in enumerate(names):
        try:
            whole = list(_of_specs(words, spec, dtype))
        except (WindowtaxError, ValueError):
            # No such layout for this model, or groups of numbers that do not fill whole bytes.
            continue
        for reading in whole:
            yield reading if index == 0 else reading.assume(f"the cache is kept in {dtype}")
    yield from _weights(words, spec)


def _of_specs(words: Words, spec: ModelSpec, dtype: str) -> Iterator[Reading]:
    yield from _of_layout(words, spec, spec.layout(dtype_of(dtype)), dtype)
    yield from _served(words, spec, dtype)
    if spec.draft_layers:
        drafting = spec.with_drafts().layout(dtype_of(dtype))
        for reading in _of_layout(words, spec, drafting, dtype):
            yield reading.assume("the layer of multi-token prediction is counted")
    for text, cost, other in _other_layouts(spec, dtype):
        for reading in _of_layout(words, spec, other, dtype):
            yield reading.assume(text, cost)


def _served(words: Words, spec: ModelSpec, dtype: str) -> Iterator[Reading]:
    """In the padded pages of 256 tokens in which DeepSeek-V4's rows are served."""
    if dtype_of(dtype).shared is None or not any(
        g.cache.page_align_bytes > 1 for g in spec.layout(dtype_of(dtype)).groups
    ):
        return
    base = Reading(value=0, formula="", model=spec.name, dtype=dtype, context_tokens=None)
    row = replace(base, value=served_per_token(spec.name, dtype), formula="bytes per token in padded pages")
    row = row.assume("pages of 256 tokens, windows left out")
    yield row if words.quantity.per_token or words.context is None else row.assume("it is per token")
    for tokens, reading in _at_contexts(words, spec, base):
        value = served_total(spec.name, tokens, dtype) * words.users
        found = replace(reading, value=value, formula=_times("bytes of one sequence in padded pages", words.users))
        yield found.assume("pages of 256 tokens, windows left out")


def _other_layouts(spec: ModelSpec, dtype: str) -> Iterator[tuple[str, int, CacheLayout]]:
    """Layouts that a sentence may mean by mistake or by convention."""
    whole = spec.layout(dtype_of(dtype))
    rows = tuple(g for g in whole.groups if not any(plane.name.startswith("index") for plane in g.cache.planes))
    if len(rows) < len(whole.groups):
        yield "index keys are left out", 1, replace(whole, groups=rows)
    if whole.state_bytes:
        kept = tuple(g for g in whole.groups if not g.cache.is_state)
        yield "the fixed states of linear layers are left out", 1, replace(whole, groups=kept)
    if whole.window_bytes:
        grown = tuple(replace(g, cache=replace(g.cache, window=None, chunk=None)) for g in whole.groups)
        yield "windows are ignored: every layer keeps the whole context", 1, replace(whole, groups=grown)
        growing = tuple(g for g in whole.groups if g.cache.grows)
        yield "windows are left out", 1, replace(whole, groups=growing)
    keys = tuple(
        replace(g, cache=replace(g.cache, planes=tuple(p for p in g.cache.planes if not p.name.startswith("v"))))
        for g in whole.groups
    )
    if keys != whole.groups:
        yield "keys only: the factor 2 for keys and values is forgotten", 2, replace(whole, groups=keys)
    try:
        yield "multi-head attention: a key and a value head for every query head", 2, mha_layout(spec.name, dtype)
    except WindowtaxError:
        return


def _of_layout(words: Words, spec: ModelSpec, layout: CacheLayout, dtype: str) -> Iterator[Reading]:
    users, quantity = words.users, words.quantity
    layers = max(1, len({layer for group in layout.groups for layer in group.layers}))
    base = Reading(value=0, formula="", model=spec.name, dtype=dtype, context_tokens=None)
    growth = replace(base, value=float(layout.growth), formula="bytes that each further token costs")
    per_token = quantity.per_token or words.context is None
    yield growth if per_token else growth.assume("it is per token")
    for tokens, reading in _at_contexts(words, spec, base):
        total = layout.bytes_for(tokens)
        one = replace(reading, value=total * users, formula=_times("bytes of one sequence", users))
        yield one.assume("it is a whole sequence, not a token", 2) if quantity.per_token else one
        mean = replace(reading, value=total / tokens, formula="bytes of one sequence divided by its tokens")
        yield mean if per_token and words.context else mean.assume("it is the average per token")
        if users > 1:
            yield replace(reading, value=total, formula="bytes of one sequence").assume("it is for one user")
        pool = layout.pool_bytes_for(tokens, DEFAULT_CHUNK_TOKENS) * users
        yield replace(reading, value=pool, formula=_times("bytes allocated in whole blocks", users)).assume(
            "as allocated"
        )
        layer = replace(reading, value=total / layers, formula="bytes of one sequence in one layer")
        yield layer if words.layer and not quantity.per_token else layer.assume("it is one layer of several", 2)
    layer = replace(growth, value=growth.value / layers, formula="bytes of one token in one layer")
    yield layer if words.layer and quantity.per_token else layer.assume("it is per token and layer", 2)
    if layout.window_bytes:
        yield replace(base, value=layout.window_bytes, formula="bytes of all windows when full").assume("windows alone")
    if layout.state_bytes:
        yield replace(base, value=layout.state_bytes, formula="bytes of all states").assume("states alone")


def _at_contexts(words: Words, spec: ModelSpec, base: Reading) -> Iterator[tuple[int, Reading]]:
    if words.context is None:
        tokens = spec.max_context_tokens
        yield tokens, replace(base, context_tokens=tokens).assume(f"at the model's own window of {tokens:,} tokens")
        return
    for index, tokens in enumerate(words.context.tokens):
        reading = replace(base, context_tokens=tokens)
        yield tokens, reading if index == 0 else reading.assume(f"{words.context.text} is {tokens:,} tokens")


def _times(text: str, users: int) -> str:
    return text if users == 1 else f"{text}, times {users} users"


def _weights(words: Words, spec: ModelSpec) -> Iterator[Reading]:
    """Weights alone, and with the cache in bf16: what a sentence about memory often means."""
    said = "weight" in words.rest.lower() or "param" in words.rest.lower()
    for name in (CHECKPOINT, "bf16", "fp8", "int8", "int4"):
        scheme = weight_scheme(name, spec)
        size = WeightBytes.of(spec, scheme).resident
        base = Reading(value=size, formula="bytes of all weights", model=spec.name, dtype="", context_tokens=None)
        base = base if said else base.assume("it is the weights", 2)
        yield base if name == CHECKPOINT else base.assume(f"the weights are in {scheme.name}")
        if words.context is not None:
            dtype, tokens = words.dtype or "bf16", words.context.tokens[0]
            both = size + words.users * spec.layout(dtype_of(dtype)).bytes_for(tokens)
            reading = replace(base, value=both, formula="weights and cache", dtype=dtype, context_tokens=tokens)
            yield reading.assume(f"the weights are in {scheme.name}")


# --- seconds --------------------------------------------------------------------------------------------------


def _seconds(words: Words, spec: ModelSpec) -> Iterator[Reading]:
    chip = hardware(words.device or "h100-sxm")
    count = words.devices or 1
    text = words.rest.lower()
    prefill = any(word in text for word in ("ttft", "first token", "prefill", "prompt"))
    decode = words.quantity.per_token or any(
        word in text for word in ("tpot", "itl", "per token", "decode", "between tokens")
    )
    for scheme_name in (CHECKPOINT, "fp8"):
        scheme = weight_scheme(scheme_name, spec)
        layout = spec.layout(dtype_of(words.dtype or "bf16"))
        rank = Rank(spec=spec, hardware=chip, scheme=scheme, weights=WeightBytes.of(spec, scheme), layout=layout)
        base = Reading(value=0, formula="", model=spec.name, dtype=words.dtype or "bf16", context_tokens=None)
        base = base if words.device else base.assume(f"on {chip.title}")
        base = base if scheme_name == CHECKPOINT else base.assume(f"the weights are in {scheme.name}")
        for tokens, reading in _at_contexts(words, spec, base):
            for formula, seconds, said in _times_of(rank, tokens, words.users, (prefill, decode)):
                found = replace(reading, value=seconds / count, formula=formula)
                found = found if said else found.assume("that is what is timed")
                yield found if count == 1 else found.assume("work is shared evenly, without communication")


def _times_of(rank: Rank, tokens: int, users: int, said: tuple[bool, bool]) -> Iterator[tuple[str, float, bool]]:
    prefill, decode = said
    step, whole = rank.decode(tokens, users), rank.prefill(tokens, 0, tokens)
    element = rank.scheme.compute
    least = prefill_floor(rank.spec, rank.hardware, tokens, weight_element=rank.scheme.name, compute_element=element)
    floor = decode_floor(rank.spec, rank.hardware, tokens, rank.layout, batch=users, weight_element=rank.scheme.name)
    yield "prefill, reading and computing overlapped", whole.overlap_s, prefill
    yield "prefill, nothing overlapped", whole.serial_s, prefill
    yield "prefill, the least at peak rates", least.seconds, False
    yield "one decode step, reading and computing overlapped", step.overlap_s, decode
    yield "one decode step, nothing overlapped", step.serial_s, decode
    yield "one decode step, the least at peak rates", floor.seconds, False


# --- ratios ---------------------------------------------------------------------------------------------------


def _ratios(words: Words, spec: ModelSpec) -> Iterator[Reading]:
    dtype = words.dtype or "bf16"
    layout = spec.layout(dtype_of(dtype))
    base = Reading(value=0, formula="", model=spec.name, dtype=dtype, context_tokens=None)
    others = [name for name in words.models if name != spec.name]
    for formula, compute in _growth_ratios(spec, dtype, layout):
        try:
            alone = replace(base, formula=formula, value=compute())
        except (WindowtaxError, ZeroDivisionError, ValueError):
            continue
        yield from _both_ways(alone.assume(f"it is about {spec.name} alone") if others else alone)
    for other in others:
        rival = read_model(other).layout(dtype_of(dtype))
        yield from _against(words, spec, base, other, rival)
        for narrow in ("fp8", "6-bit", "4-bit"):
            kept = replace(base, dtype=narrow).assume(f"the cache of {spec.name} in {narrow}, the other's in {dtype}")
            yield from _against(words, spec, kept, other, rival)


def _against(words: Words, spec: ModelSpec, base: Reading, other: str, rival: CacheLayout) -> Iterator[Reading]:
    """One model's bytes over another's: of a further token, and of a sequence."""
    layout = spec.layout(dtype_of(base.dtype))
    if rival.growth:
        value = float(layout.growth / rival.growth)
        yield from _both_ways(replace(base, value=value, formula=f"bytes of a further token over those in {other}"))
    for tokens, reading in _at_contexts(words, spec, base):
        value = layout.bytes_for(tokens) / rival.bytes_for(tokens)
        yield from _both_ways(replace(reading, value=value, formula=f"bytes of one sequence over those in {other}"))


def _growth_ratios(spec: ModelSpec, dtype: str, layout: CacheLayout) -> tuple[tuple[str, Callable[[], float]], ...]:
    return (
        (
            "growth with a KV head per query head over growth",
            lambda: float(mha_layout(spec.name, dtype).growth / layout.growth),
        ),
        ("growth in bf16 over growth in fp8", lambda: _dtypes(spec, "bf16", "fp8")),
        ("growth in bf16 over growth in int8", lambda: _dtypes(spec, "bf16", "int8")),
        ("growth in bf16 over growth in int4", lambda: _dtypes(spec, "bf16", "int4")),
    )


def _dtypes(spec: ModelSpec, wide: str, narrow: str) -> float:
    return float(spec.layout(dtype_of(wide)).growth / spec.layout(dtype_of(narrow)).growth)


def _both_ways(reading: Reading) -> Iterator[Reading]:
    """A ratio, and the share that it saves."""
    yield reading
    if reading.value > 1:
        yield replace(reading, value=1 - 1 / reading.value, formula=f"1 - 1 / ({reading.formula})")
    elif 0 < reading.value < 1:
        yield replace(reading, value=1 - reading.value, formula=f"1 - {reading.formula}")
