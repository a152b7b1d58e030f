"""What our own engine reaches on this machine: steps of models of noise, and the planner's rates from them.

The same program runs as for a real model, so every figure has everything in it: kernels, threads, waiting. The unknowns
come from differences: constants per layer and step, and weights by the rows of a step, from models that differ in
layers and bytes; the cache from one token behind a long context; products from many tokens at once and attention's
scores from the same behind a long context, in several shapes; choosing blocks from two contexts and two numbers of
blocks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from windowtax.catalog.machine import EngineRates
from windowtax.engine.noise import LONGEST_TOKENS, NoiseModel, choosing, median, medians_in_turns, spec_of_noise
from windowtax.ops.native import NativeState
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec
from windowtax.spec.step_costs import Curve, on_curve

CACHE_DTYPES = ("fp32", "fp16", "bf16", "fp8", "int8", "k8v4", "k4v4")
_ROWS = (1, 2, 4, 8, 16)
"""The last is the most that native code multiplies as the rows of a decode step (native/src/program/linear.h)."""
_LONG_BYTES = 384 << 20
"""Of a cache that main memory gives: near the end of a shared cache nobody knows what a byte should take."""
_CHUNK_TOKENS, _PREFIX_TOKENS = 2048, 14_336
"""So long that the keys of a head do not lie in a second-level cache: near the end of a long prompt they do not."""
_FEW_BLOCKS, _MANY_BLOCKS = 16, 64
_BLOCK_TOKENS = 32
_DECODES, _CACHE_DECODES, _PREFILLS, _TURNS = 12, 8, 2, 2
_PREFILL_BUDGET_S = 20.0
"""After this no other pass begins: without tiles a single one may take long."""
_PASSES = 3
"""Each with weights, buffers and caches that lie elsewhere in memory, and some seconds apart; the median counts."""


@dataclass(frozen=True, slots=True)
class Reads:
    """How fast all threads read here, B/s: from main memory, and by working set (bytes, B/s; rising)."""

    from_memory: float
    curve: Curve

    def seconds(self, num_bytes: float, working_set_bytes: float) -> float:
        """What reading takes, s."""
        return num_bytes / on_curve(self.curve, working_set_bytes)

    def beyond_s(self, seconds: float, num_bytes: float, working_set_bytes: float) -> float:
        """What a byte took beyond reading it, s."""
        return max(0.0, (seconds - self.seconds(num_bytes, working_set_bytes)) / num_bytes)

    def in_memory(self, beyond_s: float) -> float:
        """B/s of a kernel that takes so much more per byte, where main memory gives the bytes."""
        return 1 / (1 / self.from_memory + beyond_s)


@dataclass(frozen=True, slots=True)
class _Constants:
    """Of a decode step, whatever its bytes, s: once, per layer; and the same for each further sequence."""

    step_s: float
    layer_s: float
    sequence_s: float
    sequence_layer_s: float

    def of(self, layers: int, sequences: int = 1) -> float:
        """All of them, s."""
        more = sequences - 1
        return self.step_s + more * self.sequence_s + layers * (self.layer_s + more * self.sequence_layer_s)


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of steps of models of noise. What the engine reaches follows from them and from how fast one reads here,
    which is measured meanwhile, again and again, because minutes differ."""

    level: str
    by_rows: "dict[int, Timed]"
    cache_s: dict[str, float]
    outside_s: dict[int, float]
    prefill_s: "list[Prefilled]"
    choosing: "list[Chosen]"

    def rates(self, reads: Reads) -> EngineRates:
        """What the planner asks for."""
        constants = _constants(self.by_rows)
        stored, full = (_model(self.by_rows, weights) for weights in ("stored", "full"))
        narrow, wide = (_weights(model, self.by_rows, reads, constants) for model in (stored, full))
        caches = _caches(stored, self.cache_s, reads, constants, narrow.beyond_s)
        products, scores = _many_tokens(self.prefill_s, constants)
        weights_s = constants.of(full.num_layers) + full.decoder.step_weight_bytes * wide.beyond_s
        scored_s, chosen_s = _choices(self.choosing, reads, full.decoder.step_weight_bytes, weights_s, caches["bf16"])
        return EngineRates(
            level=self.level,
            weight_bytes_per_s={"bf16": reads.in_memory(wide.beyond_s), "int4": reads.in_memory(narrow.beyond_s)},
            rows_s_per_byte={"bf16": wide.by_rows, "int4": narrow.by_rows},
            cache_bytes_per_s={name: reads.in_memory(beyond_s) for name, beyond_s in caches.items()},
            product_flops_per_s=products,
            attention_flops_per_s=scores,
            layer_overhead_s=constants.layer_s,
            step_overhead_s=constants.step_s + self.outside_s[1],
            sequence_layer_s=constants.sequence_layer_s,
            sequence_s=constants.sequence_s + max(0.0, (self.outside_s[8] - self.outside_s[1]) / 7),
            scored_block_s=scored_s,
            chosen_block_s=chosen_s,
        )


def time_steps(native: NativeState, threads: int, between: Callable[[], None]) -> Timings:
    """Half a minute. Needs the native kernels. between: called between its parts."""
    stored, full = (NoiseModel(_small(), weights, native, threads) for weights in ("stored", "full"))
    by_rows = {rows: _decode_s([*_tiny(native, threads), stored, full], rows) for rows in _ROWS}
    between()
    cache_s = _cache_s(stored)
    outside_s = {sequences: median(stored.outside(sequences, 3 * _DECODES)) for sequences in (1, 8)}
    between()
    prefill_s = _prefill_s(native, threads)
    between()
    return Timings(native.level, by_rows, cache_s, outside_s, prefill_s, _choosing(native, threads))


# --- decode: constants, and weights by rows -------------------------------------------------------------------------

Timed = list[tuple[NoiseModel, float]]


def _decode_s(models: list[NoiseModel], rows: int) -> Timed:
    """A decode step of so many sequences, each without a context, in each model, s."""
    works = {str(index): model.decode("bf16", 1, rows) for index, model in enumerate(models)}
    times = medians_in_turns(works, _TURNS, _DECODES)
    return [(model, times[str(index)]) for index, model in enumerate(models)]


def _constants(by_rows: dict[int, Timed]) -> _Constants:
    """For each number of rows three models give what a step, a layer and a byte of weights take."""
    found: dict[int, tuple[float, float]] = {}
    for rows, timed in by_rows.items():
        three = [one for one in timed if one[0].weights == "stored"]
        known = [[1.0, model.num_layers, model.decoder.step_weight_bytes] for model, _ in three]
        step_s, layer_s, _ = np.linalg.solve(np.array(known), np.array([seconds for _, seconds in three])).tolist()
        found[rows] = max(0.0, step_s), max(0.0, layer_s)
    least, most = _ROWS[0], _ROWS[-1]
    more = [max(0.0, many - one) / (most - least) for one, many in zip(found[least], found[most], strict=True)]
    return _Constants(*found[least], *more)


@dataclass(frozen=True, slots=True)
class _Weights:
    """beyond_s: what a byte takes in a step of one row beyond reading it, s. by_rows: (rows, s) of a byte, with it."""

    beyond_s: float
    by_rows: Curve


def _weights(model: NoiseModel, by_rows: dict[int, Timed], reads: Reads, constants: _Constants) -> _Weights:
    size = model.decoder.step_weight_bytes
    spent = {
        rows: next(seconds for one, seconds in timed if one is model) - constants.of(model.num_layers, rows)
        for rows, timed in by_rows.items()
    }
    least = spent[_ROWS[0]]
    curve = tuple((float(rows), max(least, seconds) / size) for rows, seconds in spent.items() if rows > 1)
    return _Weights(reads.beyond_s(least, size, size), curve)


def _model(by_rows: dict[int, Timed], weights: str) -> NoiseModel:
    """The small one with such weights: the last in its place."""
    return [model for model, _ in by_rows[_ROWS[0]] if model.weights == weights][-1]


def _cache_s(model: NoiseModel) -> dict[str, float]:
    """A decode step behind a long context (`_long_tokens`), by the dtype of its cache, s."""
    found: dict[str, list[float]] = {}
    for _ in range(_PASSES):
        for name in CACHE_DTYPES:
            work = {name: model.decode(name, _long_tokens(model, name))}
            found.setdefault(name, []).append(medians_in_turns(work, 1, _CACHE_DECODES)[name])
    return {name: median(times) for name, times in found.items()}


def _long_tokens(model: NoiseModel, cache: str) -> int:
    tokens = 4096
    while model.read_bytes(cache, tokens) < _LONG_BYTES and tokens < LONGEST_TOKENS:
        tokens *= 2
    return tokens


def _caches(
    model: NoiseModel, cache_s: dict[str, float], reads: Reads, constants: _Constants, weight_beyond_s: float
) -> dict[str, float]:
    """By dtype, what a byte of the cache takes beyond reading it, s."""
    weights, found = model.decoder.step_weight_bytes, dict[str, float]()
    for name, seconds in cache_s.items():
        kept = model.read_bytes(name, _long_tokens(model, name))
        known_s = reads.seconds(weights, weights + kept) + weights * weight_beyond_s + constants.of(model.num_layers)
        found[name] = reads.beyond_s(seconds - known_s, kept, weights + kept)
    return found


# --- prefill: products by the size of matrices, scores by the size of heads -----------------------------------------


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Many tokens of one model: at the beginning, and behind a long prefix, s."""

    spec: ModelSpec
    near_s: float
    far_s: float


def _prefill_s(native: NativeState, threads: int) -> list[Prefilled]:
    specs, starts, times = _shapes(), (0, _PREFIX_TOKENS), dict[str, list[float]]()
    began = time.perf_counter()
    while not times or (len(times["0 0"]) < _PASSES and time.perf_counter() - began < _PREFILL_BUDGET_S):
        works = {
            f"{index} {start}": model.step("bf16", start, _CHUNK_TOKENS)
            for index, model in enumerate(NoiseModel(spec, "stored", native, threads) for spec in specs)
            for start in starts
        }
        for name, seconds in medians_in_turns(works, _PREFILLS).items():
            times.setdefault(name, []).append(seconds)
    return [
        Prefilled(spec, *(median(times[f"{index} {start}"]) for start in starts)) for index, spec in enumerate(specs)
    ]


def _many_tokens(measured: list[Prefilled], constants: _Constants) -> tuple[Curve, Curve]:
    """FLOP/s of products by the numbers of a layer's matrices, and of attention's scores by the size of heads."""
    products: list[tuple[float, float]] = []
    scores: list[tuple[float, float]] = []
    for one in measured:
        spec, layers, attention = one.spec, len(one.spec.layers), one.spec.layers[0].attention
        assert isinstance(attention, SoftmaxAttention)
        near, far = (spec.attention_flops(start, _CHUNK_TOKENS) for start in (0, _PREFIX_TOKENS))
        rate = (far - near) / max(one.far_s - one.near_s, 1e-6)
        matrices = _CHUNK_TOKENS * spec.layer_flops_per_token + spec.head_flops_per_token
        spent_s = max(one.near_s - near / rate - constants.of(layers), 1e-6)
        products.append((spec.layer_flops_per_token / 2 / layers, matrices / spent_s))
        scores.append((float(attention.head_dim), rate))
    return tuple(sorted(products)), tuple(sorted(scores))


# --- choosing blocks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """A step that reads `chosen` of `blocks` blocks for each of `heads` KV heads in all layers: what it takes, s, and
    the bytes of the cache that it reads."""

    blocks: float
    chosen: int
    heads: int
    seconds: float
    read_bytes: int


def _choosing(native: NativeState, threads: int) -> list[Chosen]:
    """Weights in full, so that a step reads more than a processor keeps: blocks come from main memory."""
    models = {
        top: NoiseModel(choosing(_small(), top, _BLOCK_TOKENS), "full", native, threads)
        for top in (_FEW_BLOCKS, _MANY_BLOCKS)
    }
    asked = ((_MANY_BLOCKS, LONGEST_TOKENS), (_FEW_BLOCKS, LONGEST_TOKENS), (_MANY_BLOCKS, LONGEST_TOKENS // 4))
    found: list[Chosen] = []
    for top, tokens in _TURNS * asked:
        model = models[top]
        works = {"": model.decode("bf16", tokens)}
        attention = model.spec.layers[0].attention
        assert isinstance(attention, SoftmaxAttention)
        found.append(
            Chosen(
                tokens / _BLOCK_TOKENS,
                top,
                model.num_layers * attention.num_kv_heads,
                medians_in_turns(works, 1, _DECODES)[""],
                model.read_bytes("bf16", tokens),
            )
        )
    return found


def _choices(
    measured: list[Chosen], reads: Reads, weights: int, weights_s: float, cache_beyond_s: float
) -> tuple[float, float]:
    """s per layer and KV head, beyond the bytes that are read: per block scored, and per block chosen.

    weights: bytes. weights_s: what the step takes for them beyond reading them, and its constants.
    """
    known = np.array([[one.blocks, one.chosen] for one in measured])
    beyond: list[float] = []
    for one in measured:
        read = weights + one.read_bytes
        known_s = reads.seconds(read, read) + weights_s + one.read_bytes * cache_beyond_s
        beyond.append((one.seconds - known_s) / one.heads)
    scored_s, chosen_s = np.linalg.lstsq(known, np.array(beyond), rcond=None)[0].tolist()
    return max(0.0, scored_s), max(0.0, chosen_s)


# --- shapes ---------------------------------------------------------------------------------------------------------


def _tiny(native: NativeState, threads: int) -> list[NoiseModel]:
    """So small that little but constants is left; of few and of many layers."""
    specs = (spec_of_noise(heads=2, kv_heads=1, hidden=128, inner=256, layers=layers, vocab=8192) for layers in (2, 18))
    return [NoiseModel(spec, "stored", native, threads) for spec in specs]


def _small() -> ModelSpec:
    """Like the smallest real models: 100 M weights, so that its caches are as little in reach as theirs."""
    return spec_of_noise(heads=9, kv_heads=3, hidden=640, inner=2048, layers=16, vocab=32_768)


def _shapes() -> list[ModelSpec]:
    """Matrices of 3, 12 and 59 million numbers per layer; heads of 64, 256 and 128."""
    return [
        spec_of_noise(heads=8, kv_heads=2, head_dim=64, hidden=512, inner=1536, layers=8, vocab=2048),
        spec_of_noise(heads=4, kv_heads=2, head_dim=256, hidden=1024, inner=3072, layers=4, vocab=2048),
        spec_of_noise(heads=16, kv_heads=4, head_dim=128, hidden=2048, inner=8192, layers=2, vocab=2048),
    ]
