"""Decode steps behind contexts, of models of noise: what a byte of the cache takes by its dtype, what a context takes
to begin with, and what choosing blocks takes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from windowtax.engine.calibrate_reads import Reads, ends
from windowtax.engine.noise import (
    LONGEST_TOKENS,
    NoiseModel,
    bare_spec,
    choosing,
    median,
    medians_in_turns,
    small_spec,
)
from windowtax.ops.native import NativeState
from windowtax.spec.attention.block_topk import BlockTopKAttention
from windowtax.spec.step_costs import Curve, kernel_s

CACHE_DTYPES = ("fp32", "fp16", "bf16", "fp8", "int8", "k8v4", "k4v4")
_FAR_BYTES = 384 << 20
"""Of a cache that main memory gives: near the end of a shared cache nobody knows what a byte should take."""
_NEAR_BYTES = (6 << 20, 24 << 20)
"""Of a cache that a shared one gives, with the weights of a small model before it, as in steps of such models: alone it
is read faster. Two sizes, since to begin with a context takes time too."""
_LEAST_GROUP, _MORE_GROUP = 3, 8
"""Query heads per KV head: the more, the more is computed with each byte. The first are those of `small_spec`."""
_TOPS, _BLOCK_TOKENS = (16, 64), 32
_CHOOSE_TOKENS = (LONGEST_TOKENS // 4, LONGEST_TOKENS)
_DECODES, _FAR_DECODES, _TURNS = 12, 8, 2
_PASSES = 3
"""Each with buffers and caches that lie elsewhere in memory, and some seconds apart; the median counts."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of a step beyond those of the same step without a context, the bytes of the cache that it reads, and the
    bytes of all that it reads."""

    seconds: float
    read_bytes: int
    working_set_bytes: int


@dataclass(frozen=True, slots=True)
class Caches:
    """Decode steps by the dtype of their cache. near: by query heads per KV head, behind a shorter and a longer
    context, which a shared cache may hold. far: of a model of little but attention."""

    layers: int
    near: dict[str, dict[int, tuple[Spent, Spent]]]
    far: dict[str, Spent]

    def begin_s(self) -> dict[str, float]:
        """By dtype, what a layer takes for a context, however short, s."""
        return {name: self._begin(name) / self.layers for name in self.near}

    def _begin(self, name: str) -> float:
        short, long = self.near[name][_LEAST_GROUP]
        return max(0.0, short.seconds - short.read_bytes * _slope(short, long))

    def s_per_byte(self, reads: Reads) -> dict[str, Curve]:
        """By dtype: (s of plain reading, s of a byte), near and far, of the least group."""
        found: dict[str, Curve] = {}
        for name, far in self.far.items():
            short, long = self.near[name][_LEAST_GROUP]
            far_s = (far.seconds - self._begin(name)) / far.read_bytes
            read_s = [reads.s_per_byte(one.working_set_bytes) for one in (long, far)]
            found[name] = ends((read_s[0], _slope(short, long)), (read_s[1], far_s))
        return found

    def by_group(self) -> dict[str, Curve]:
        """By dtype: (query heads per KV head, s of a byte of a near cache)."""
        return {
            name: tuple((float(group), _slope(*both)) for group, both in sorted(groups.items()))
            for name, groups in self.near.items()
        }

    def choosing(self, measured: "list[Chosen]", reads: Reads) -> tuple[float, float]:
        """Per layer, and per number of the summaries, s, beyond the bytes that are read."""
        curve = self.s_per_byte(reads)["bf16"]
        known = np.array([[one.layers, one.summary_numbers] for one in measured])
        read_s = [reads.s_per_byte(one.spent.working_set_bytes) for one in measured]
        beyond = [
            one.spent.seconds - one.spent.read_bytes * kernel_s(curve, s)
            for one, s in zip(measured, read_s, strict=True)
        ]
        layer_s, number_s = np.linalg.lstsq(known, np.array(beyond), rcond=None)[0].tolist()
        return max(0.0, layer_s), max(0.0, number_s)


def _slope(short: Spent, long: Spent) -> float:
    """What a byte of the cache takes, s."""
    return max(0.0, long.seconds - short.seconds) / (long.read_bytes - short.read_bytes)


def time_caches(native: NativeState, threads: int, stored: NoiseModel, pause: Callable[[], None]) -> Caches:
    """stored: the model of stored weights of `time_weights`. pause: called between passes."""
    spec = small_spec(layers=stored.num_layers, group=_MORE_GROUP)
    near = {_LEAST_GROUP: stored, _MORE_GROUP: NoiseModel(spec, stored.weights, native, threads)}
    # Of so many heads that even keys in 4 bits behind the longest context are more than a cache holds.
    bare = NoiseModel(bare_spec(heads=4 * _LEAST_GROUP, kv_heads=4), "stored", native, threads)
    cases = [_Case(model, group, size, _DECODES) for group, model in near.items() for size in _NEAR_BYTES]
    cases.append(_Case(bare, _LEAST_GROUP, _FAR_BYTES, _FAR_DECODES))
    found: dict[tuple[str, int, int], list[Spent]] = {}
    for index in range(_PASSES):
        if index:
            pause()
        base_s = {model: _decode_s(model, "bf16", 1, _DECODES) for model in (*near.values(), bare)}
        for name in CACHE_DTYPES:
            for case in cases:
                found.setdefault((name, case.group, case.num_bytes), []).append(case.spent(name, base_s[case.model]))
    middle = {case: replace(all[0], seconds=median([one.seconds for one in all])) for case, all in found.items()}
    short, long = _NEAR_BYTES
    return Caches(
        stored.num_layers,
        {
            name: {group: (middle[name, group, short], middle[name, group, long]) for group in near}
            for name in CACHE_DTYPES
        },
        {name: middle[name, _LEAST_GROUP, _FAR_BYTES] for name in CACHE_DTYPES},
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """Decode steps of a model, behind a cache of so many bytes."""

    model: NoiseModel
    group: int
    num_bytes: int
    steps: int

    def spent(self, dtype: str, base_s: float) -> Spent:
        """Times them. base_s: a step without a context."""
        tokens = _tokens_of(self.model, dtype, self.num_bytes)
        read = self.model.read_bytes(dtype, tokens)
        seconds = _decode_s(self.model, dtype, tokens, self.steps) - base_s
        return Spent(seconds, read, read + self.model.decoder.step_weight_bytes)


def _decode_s(model: NoiseModel, dtype: str, tokens: int, steps: int) -> float:
    return medians_in_turns({"": model.decode(dtype, tokens)}, 1, steps)[""]


def _tokens_of(model: NoiseModel, cache: str, num_bytes: int) -> int:
    """The context whose cache has so many bytes, or the longest."""
    per_token = model.read_bytes(cache, _BLOCK_TOKENS) / _BLOCK_TOKENS
    return min(LONGEST_TOKENS, round(num_bytes / per_token / _BLOCK_TOKENS) * _BLOCK_TOKENS)


# --- choosing blocks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a step takes in which blocks are chosen in all layers, summaries counted with what is read, and the numbers
    of the summaries that it scores."""

    layers: int
    summary_numbers: int
    spent: Spent


def time_choosing(native: NativeState, threads: int, stored: NoiseModel) -> list[Chosen]:
    """Two contexts, two numbers of blocks."""
    plain, found = stored.decode("bf16", 1), list[Chosen]()
    models = [NoiseModel(choosing(stored.spec, top, _BLOCK_TOKENS), stored.weights, native, threads) for top in _TOPS]
    for tokens in _TURNS * _CHOOSE_TOKENS:
        for model in models:
            times = medians_in_turns({"plain": plain, "": model.decode("bf16", tokens)}, 1, _DECODES)
            (attention,) = {layer.attention for layer in model.spec.layers}
            assert isinstance(attention, BlockTopKAttention)
            read = model.read_bytes("bf16", tokens)
            spent = Spent(times[""] - times["plain"], read, read + model.decoder.step_weight_bytes)
            found.append(Chosen(model.num_layers, attention.summary_numbers(tokens) * model.num_layers, spent))
    return found
