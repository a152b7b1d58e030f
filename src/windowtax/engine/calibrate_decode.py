"""Decode steps of models of noise: what a step, a layer, a sequence, a byte of weights, a byte of the cache and choosing
blocks take.

Bytes are timed near, where a shared cache gives them, and far, in steps that read more than any cache holds. A step
behind one that swept the caches would not do: it finds its program, buffers and page tables as cold as its weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from windowtax.engine.calibrate_reads import Reads
from windowtax.engine.noise import (
    LONGEST_TOKENS,
    NoiseModel,
    bare_spec,
    choosing,
    large_spec,
    median,
    medians_in_turns,
    small_spec,
)
from windowtax.ops.native import NativeState
from windowtax.spec.attention.block_topk import BlockTopKAttention
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.step_costs import Curve, kernel_s, on_curve

CACHE_DTYPES = ("fp32", "fp16", "bf16", "fp8", "int8", "k8v4", "k4v4")
_ROWS = (1, 2, 4, 8, 16)
"""The last is the most that native code multiplies as the rows of a decode step (native/src/program/linear.h)."""
_FEW_LAYERS, _MANY_LAYERS = 2, 34
_HEADS = (2, 16)
"""Query heads of 64 of the models that constants come from."""
_FAR_BYTES = 384 << 20
"""Of a cache that main memory gives: near the end of a shared cache nobody knows what a byte should take."""
_NEAR_BYTES = (6 << 20, 24 << 20)
"""Of a cache that a shared one gives, with the weights of a small model before it, as in steps of such models: alone it is
read faster. Two sizes, since to begin with a context takes time too."""
_GROUPS = (3, 8)
"""Query heads per KV head: the more, the more is computed with each byte."""
_TOPS, _BLOCK_TOKENS = (16, 64), 32
_CHOOSE_TOKENS = (LONGEST_TOKENS // 4, LONGEST_TOKENS)
_DECODES, _FAR_DECODES, _TURNS = 12, 8, 3
_PASSES = 3
"""Each with buffers and caches that lie elsewhere in memory, and some seconds apart; the median counts."""


# --- constants and weights ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constants:
    """Of a decode step, whatever its bytes, s: once, per layer; and the same for each further sequence. What layers take
    goes by the numbers of all query heads."""

    step_s: float
    layer_s: Curve
    sequence_s: float
    sequence_layer_s: Curve

    def of(self, layers: int, query_numbers: float, sequences: int = 1) -> float:
        """All of them, s."""
        more = sequences - 1
        layer_s = on_curve(self.layer_s, query_numbers) + more * on_curve(self.sequence_layer_s, query_numbers)
        return self.step_s + more * self.sequence_s + layers * layer_s


@dataclass(frozen=True, slots=True)
class Sized:
    """What of a model of noise its step takes time for."""

    layers: int
    query_numbers: float
    weight_bytes: int

    @classmethod
    def of(cls, model: NoiseModel) -> "Sized":
        """Of one whose layers are alike."""
        return cls(model.num_layers, query_numbers(model), model.decoder.step_weight_bytes)


@dataclass(frozen=True, slots=True)
class Weights:
    """Seconds of a decode step, each sequence without a context. models: those of little but constants, then one of
    stored and one of full weights, which a shared cache may hold. near_s: of each of them by the number of sequences, in
    turns of their own. far: a larger one of stored and of full weights, and its s with one sequence."""

    models: list[Sized]
    near_s: dict[int, list[float]]
    far: list[tuple[Sized, float]]

    def constants(self) -> Constants:
        """From models that differ in layers and heads, and one sequence or many."""
        (one_s, one), (many_s, many) = (self._constants(rows) for rows in (_ROWS[0], _ROWS[-1]))
        more = _ROWS[-1] - _ROWS[0]
        return Constants(
            step_s=one_s,
            layer_s=one,
            sequence_s=max(0.0, many_s - one_s) / more,
            sequence_layer_s=tuple(
                (numbers, max(1e-9, value - least) / more) for (numbers, least), (_, value) in zip(one, many, strict=True)
            ),
        )

    def _constants(self, rows: int) -> tuple[float, Curve]:
        """Of a step, and by query numbers of each layer, s. The tiny models' own bytes take what the large one's do."""
        *tiny, stored, _ = self.models
        *tiny_s, stored_s, _ = self.near_s[rows]
        numbers = sorted({one.query_numbers for one in tiny})
        known = np.array([[1.0, *(one.layers * (one.query_numbers == n) for n in numbers)] for one in tiny])
        byte_s, step_s, layers = 0.0, 0.0, list[float]()
        for _ in range(4):
            beyond = np.array([s - one.weight_bytes * byte_s for one, s in zip(tiny, tiny_s, strict=True)])
            step_s, *layers = np.maximum(np.linalg.lstsq(known, beyond, rcond=None)[0], 1e-9).tolist()
            layer_s = on_curve(list(zip(numbers, layers, strict=True)), stored.query_numbers)
            byte_s = max(0.0, stored_s - step_s - stored.layers * layer_s) / stored.weight_bytes
        return step_s, tuple(zip(numbers, layers, strict=True))

    def s_per_byte(self, constants: Constants, reads: Reads) -> dict[str, Curve]:
        """By the bits of the weights: (s of plain reading, s of a byte), near and far."""
        near = zip(self.models[-2:], self.near_s[_ROWS[0]][-2:], strict=True)
        found: dict[str, Curve] = {}
        for name, *places in zip(("int4", "bf16"), near, self.far, strict=True):
            spent = [(s - constants.of(one.layers, one.query_numbers)) / one.weight_bytes for one, s in places]
            read = [reads.s_per_byte(one.weight_bytes) for one, _ in places]
            found[name] = ends(*zip(read, spent, strict=True))
        return found

    def by_rows(self, constants: Constants) -> dict[str, Curve]:
        """By the bits of the weights: (rows, least s of a byte)."""
        found: dict[str, Curve] = {}
        for name, index in (("int4", -2), ("bf16", -1)):
            model = self.models[index]
            spent = {
                rows: times[index] - constants.of(model.layers, model.query_numbers, rows)
                for rows, times in self.near_s.items()
            }
            least = spent.pop(_ROWS[0])
            found[name] = tuple((float(rows), max(least, s) / model.weight_bytes) for rows, s in spent.items())
        return found


def time_weights(native: NativeState, threads: int) -> tuple[Weights, NoiseModel]:
    """Also returns the model of stored weights."""
    tiny = [
        NoiseModel(bare_spec(heads=heads, kv_heads=heads // 2, layers=layers), "stored", native, threads)
        for heads in _HEADS
        for layers in (_FEW_LAYERS, _MANY_LAYERS)
    ]
    stored = NoiseModel(small_spec(group=_GROUPS[0], layers=16), "stored", native, threads)
    full = NoiseModel(small_spec(group=_GROUPS[0], layers=5), "full", native, threads)
    models = [*tiny, stored, full]
    near_s: dict[int, list[float]] = {}
    for rows in _ROWS:
        works = {str(index): model.decode("bf16", 1, rows) for index, model in enumerate(models)}
        near_s[rows] = list(medians_in_turns(works, _TURNS, _DECODES).values())
    far: list[tuple[Sized, float]] = []
    for weights, layers in (("stored", 28), ("full", 8)):
        model = NoiseModel(large_spec(layers), weights, native, threads)
        times = medians_in_turns({"": model.decode("bf16", 1)}, 1, _FAR_DECODES)
        far.append((Sized.of(model), times[""]))
    return Weights([Sized.of(model) for model in models], near_s, far), stored


def ends(near: tuple[float, float], far: tuple[float, float]) -> Curve:
    """Near and far as a curve: reading may be as fast in both."""
    (near_read, near_s), (far_read, far_s) = near, far
    return (min(near_read, far_read), max(near_s, 1e-15)), (far_read, max(far_s, 1e-15))


# --- caches ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of a step beyond those of the same step without a context, the bytes of the cache that it reads, and the
    bytes of all that it reads."""

    seconds: float
    read_bytes: int
    working_set_bytes: int


@dataclass(frozen=True, slots=True)
class Caches:
    """Decode steps by the dtype of their cache. near: by query heads per KV head, behind a shorter and a longer context,
    which a shared cache may hold. far: of a model of little but attention."""

    layers: int
    near: dict[str, dict[int, tuple[Spent, Spent]]]
    far: dict[str, Spent]

    def begin_s(self) -> dict[str, float]:
        """By dtype, what a layer takes for a context, however short, s."""
        return {name: self._begin(name) / self.layers for name in self.near}

    def _begin(self, name: str) -> float:
        short, long = self.near[name][_GROUPS[0]]
        return max(0.0, short.seconds - short.read_bytes * _slope(short, long))

    def s_per_byte(self, reads: Reads) -> dict[str, Curve]:
        """By dtype: (s of plain reading, s of a byte), near and far, of the least group."""
        found: dict[str, Curve] = {}
        for name, far in self.far.items():
            short, long = self.near[name][_GROUPS[0]]
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
            one.spent.seconds - one.spent.read_bytes * kernel_s(curve, s) for one, s in zip(measured, read_s, strict=True)
        ]
        layer_s, number_s = np.linalg.lstsq(known, np.array(beyond), rcond=None)[0].tolist()
        return max(0.0, layer_s), max(0.0, number_s)


def _slope(short: Spent, long: Spent) -> float:
    """What a byte of the cache takes, s."""
    return max(0.0, long.seconds - short.seconds) / (long.read_bytes - short.read_bytes)


def time_caches(native: NativeState, threads: int, stored: NoiseModel, pause: Callable[[], None]) -> Caches:
    """stored: the model of stored weights of `time_weights`. pause: called between passes."""
    models = {_GROUPS[0]: stored}
    models |= {
        group: NoiseModel(small_spec(group=group, layers=stored.num_layers), stored.weights, native, threads)
        for group in _GROUPS[1:]
    }
    bare = NoiseModel(bare_spec(), "stored", native, threads)
    found: dict[tuple[str, int, int], list[Spent]] = {}
    for index in range(_PASSES):
        if index:
            pause()
        cases = [(group, size, model, _DECODES) for group, model in models.items() for size in _NEAR_BYTES]
        cases.append((0, _FAR_BYTES, bare, _FAR_DECODES))
        base = {model: _decode_s(model, "bf16", 1, _DECODES) for _, _, model, _ in cases}
        for name in CACHE_DTYPES:
            for group, size, model, steps in cases:
                tokens = _tokens_of(model, name, size)
                read = model.read_bytes(name, tokens)
                seconds = _decode_s(model, name, tokens, steps) - base[model]
                spent = Spent(seconds, read, read + model.decoder.step_weight_bytes)
                found.setdefault((name, group, size), []).append(spent)
    middle = {case: replace(all[0], seconds=median([one.seconds for one in all])) for case, all in found.items()}
    short, long = _NEAR_BYTES
    return Caches(
        stored.num_layers,
        {name: {group: (middle[name, group, short], middle[name, group, long]) for group in models} for name in CACHE_DTYPES},
        {name: middle[name, 0, _FAR_BYTES] for name in CACHE_DTYPES},
    )


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
    models = [
        NoiseModel(choosing(stored.spec, top, _BLOCK_TOKENS), stored.weights, native, threads) for top in _TOPS
    ]
    for tokens in _TURNS * _CHOOSE_TOKENS:
        for model in models:
            times = medians_in_turns({"plain": plain, "": model.decode("bf16", tokens)}, 1, _DECODES)
            (attention,) = {layer.attention for layer in model.spec.layers}
            assert isinstance(attention, BlockTopKAttention)
            read = model.read_bytes("bf16", tokens)
            spent = Spent(times[""] - times["plain"], read, read + model.decoder.step_weight_bytes)
            found.append(Chosen(model.num_layers, attention.summary_numbers(tokens) * model.num_layers, spent))
    return found


def query_numbers(model: NoiseModel) -> float:
    """Of all query heads of a layer."""
    attention = model.spec.layers[0].attention
    assert isinstance(attention, SoftmaxAttention)
    return float(attention.num_query_heads * attention.head_dim)
