"""What our own engine reaches on this machine: steps of a small model of noise, and the planner's rates from them.

The same program runs as for a real model, so every figure has everything in it: kernels, threads, waiting. The unknowns
come from differences: the constants per layer and per step from models so small that nothing else counts; weights from
one token behind an empty context; the cache from one token behind a long one; products from many tokens at once, and
attention's scores from the same behind a long context.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from windowtax.cache.manager import CacheManager
from windowtax.catalog.machine import EngineRates
from windowtax.engine.backend import Backend, weight_format
from windowtax.engine.load import LoadedModel
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, open_engine
from windowtax.nn.recorded.decoder import RecordedDecoder, SequenceTables
from windowtax.ops.native import NativeState, WeightFormat
from windowtax.ops.rows import GROUP, Codes, Floats, Matrix, matrix_of
from windowtax.schedule.step import Step
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.hardware import read_rate
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope.base import Rope
from windowtax.spec.rope.none import NoScaling
from windowtax.store.planes import PlaneStore

CACHE_DTYPES = ("fp32", "fp16", "bf16", "fp8", "int8", "k8v4", "k4v4")
_HEAD_DIM = 64
_LONG_TOKENS = 16_384
_CHUNK_TOKENS = 1024
_PREFIX_TOKENS = 7168
_FILLING = 0x3C
"""A byte of which every number type makes something finite and not too small. Zeros would all be one page of memory."""
_DECODES, _PREFILLS = 15, 5
_FEW_LAYERS, _MANY_LAYERS = 2, 18


@dataclass(frozen=True, slots=True)
class Reads:
    """How fast `num_threads` threads read here, B/s: from main memory, and by working set (bytes, B/s; rising)."""

    from_memory: float
    curve: tuple[tuple[float, float], ...]
    num_threads: int

    def beyond_s(self, seconds: float, num_bytes: float, working_set_bytes: float) -> float:
        """What a byte took beyond reading it, s."""
        return max(0.0, seconds / num_bytes - 1 / read_rate(self.curve, working_set_bytes))

    def in_memory(self, beyond_s: float) -> float:
        """B/s of a kernel that takes so much more per byte, where main memory gives the bytes."""
        return 1 / (1 / self.from_memory + beyond_s)


def calibrate(native: NativeState, reads: Reads) -> EngineRates:
    """Some ten seconds. Needs the native kernels."""
    threads = reads.num_threads
    few, many = (_Bench(_tiny(layers), "stored", native, threads) for layers in (_FEW_LAYERS, _MANY_LAYERS))
    few_s, many_s = (bench.decode_s("bf16", 1) for bench in (few, many))
    overhead_s = max(0.0, many_s - few_s) / (_MANY_LAYERS - _FEW_LAYERS)
    read = few.decoder.step_weight_bytes
    begin_s = max(0.0, few_s - _FEW_LAYERS * overhead_s - read / read_rate(reads.curve, read))
    stored, full = (_Bench(_small(), weights, native, threads) for weights in ("stored", "full"))
    constant_s = overhead_s * len(full.spec.layers) + begin_s
    beyond_s = {bench.weights: bench.weight_beyond_s(reads, constant_s) for bench in (stored, full)}
    product, attention = stored.prefill_rates(constant_s)
    return EngineRates(
        level=native.level,
        weight_bytes_per_s={
            "bf16": reads.in_memory(beyond_s["full"]),
            "int4": reads.in_memory(beyond_s["stored"]),
        },
        cache_bytes_per_s={
            name: reads.in_memory(stored.cache_beyond_s(name, reads, constant_s, beyond_s["stored"]))
            for name in CACHE_DTYPES
        },
        product_flops_per_s=product,
        attention_flops_per_s=attention,
        layer_overhead_s=overhead_s,
        step_overhead_s=begin_s + stored.outside_s(),
    )


@dataclass(frozen=True, slots=True)
class _Noise:
    """Weights of noise: 4-bit codes with scales where `quantised`, bf16 else."""

    spec: ModelSpec
    quantised: bool

    def vector(self, name: str) -> Floats:
        """A norm of ones; nothing else is asked for."""
        return np.ones(self._shape(name), dtype=np.float32)

    def matrix(self, name: str) -> Matrix:
        """A matrix."""
        rows, columns = self._shape(name)
        rng = np.random.default_rng(0)
        if not self.quantised:
            return matrix_of(rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02))

        def read(start: int, end: int) -> Codes:
            scale = np.full((end - start, columns // GROUP), 0.005, dtype=np.float32)
            return Codes(codes[start:end], scale, scale * -8)

        codes = rng.integers(0, 16, (rows, columns), dtype=np.int8)
        return Matrix((rows, columns), read)

    def code_format(self, name: str) -> WeightFormat | None:
        """As a file of such weights would say."""
        return WeightFormat.Q4 if self.quantised else None

    def _shape(self, name: str) -> tuple[int, ...]:
        return next(weight.shape for weight in self.spec.weights() if weight.name == name)


class _Bench:
    """A model of noise, and the time of its steps."""

    def __init__(self, spec: ModelSpec, weights: str, native: NativeState, num_threads: int) -> None:
        self.spec, self.weights, self.native = spec, weights, native
        source = _Noise(spec, weights == "stored")
        self.decoder = RecordedDecoder(spec, source, weight_format(weights, "bf16"), native, num_threads)

    def decode_s(self, cache: str, context_tokens: int) -> float:
        """One token at the end of such a context, s."""
        return self._step_s(cache, context_tokens - 1, 1, _DECODES)

    def outside_s(self) -> float:
        """What a decode step takes outside the model, s: scheduler, block tables, sampler, meters.

        Taken from whole steps, so that Python finds caches as cold as the weights leave them; and not as a difference
        of two steps, which would be noise.
        """
        backend = Backend(self.native, "", self.weights, self.decoder.num_threads)
        model = LoadedModel(self.spec, self.decoder, None, "bf16", "cpu", backend)
        engine = open_engine(model, _DECODES + 8, EngineOptions())
        engine.add([1], SamplingParams(max_tokens=_DECODES + 4, ignore_eos=True))
        engine.step()
        choose, inside_s = engine.runner.choose, 0.0

        def timed(step: Step) -> list[int]:
            nonlocal inside_s
            began = time.perf_counter()
            token_ids = choose(step)
            inside_s = time.perf_counter() - began
            return token_ids

        engine.runner.choose = timed
        return sorted(_seconds(engine.step) - inside_s for _ in range(_DECODES))[_DECODES // 4]

    def weight_beyond_s(self, reads: Reads, constant_s: float) -> float:
        """What a byte of the weights takes in a decode step beyond reading it, s."""
        size = self.decoder.step_weight_bytes
        return reads.beyond_s(self.decode_s("bf16", 1) - constant_s, size, size)

    def cache_beyond_s(self, cache: str, reads: Reads, constant_s: float, weight_beyond_s: float) -> float:
        """The same of the cache in that dtype."""
        weights, kept = self.decoder.step_weight_bytes, self._layout(cache).read_bytes(_LONG_TOKENS)
        weights_s = weights * (1 / read_rate(reads.curve, weights + kept) + weight_beyond_s)
        spent_s = self.decode_s(cache, _LONG_TOKENS) - constant_s - weights_s
        return reads.beyond_s(spent_s, kept, weights + kept)

    def prefill_rates(self, constant_s: float) -> tuple[float, float]:
        """FLOP/s of products, and of attention's scores, where many tokens are computed at once."""
        starts = (0, _PREFIX_TOKENS)
        near_s, far_s = (self._step_s("bf16", start, _CHUNK_TOKENS, _PREFILLS) for start in starts)
        near, far = (self.spec.attention_flops(start, _CHUNK_TOKENS) for start in starts)
        attention = (far - near) / max(far_s - near_s, 1e-6)
        products = _CHUNK_TOKENS * self.spec.layer_flops_per_token + self.spec.head_flops_per_token
        return products / max(near_s - near / attention - constant_s, 1e-6), attention

    def _layout(self, cache: str) -> CacheLayout:
        return self.spec.layout(cache_dtype(cache))

    def _step_s(self, cache: str, start: int, count: int, rounds: int) -> float:
        """The lower quartile of some steps of `count` tokens behind `start`: neighbours only slow down."""
        layout = self._layout(cache)
        manager = CacheManager(layout, layout.peak_blocks(start + count, count))
        assert manager.reserve("noise", start, count)
        store = PlaneStore(layout, manager.num_blocks)
        for planes in store.planes:
            for plane in planes.values():
                plane.fill(_FILLING)
        recording = self.decoder.record(store)
        tables = manager.tables("noise")
        row = SequenceTables(
            [1] * count, start, 1, start + count, [table.blocks for table in tables], [table.first for table in tables]
        )
        return _quartile_s(lambda: recording.run([row]), rounds)


def _quartile_s(work: Callable[[], object], rounds: int) -> float:
    _seconds(work)
    return sorted(_seconds(work) for _ in range(rounds))[rounds // 4]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _tiny(layers: int) -> ModelSpec:
    """So small that only constants are left, but for the logits, which are sampled from."""
    return _spec(heads=2, kv_heads=1, hidden=128, inner=256, layers=layers, vocab=32_768)


def _small() -> ModelSpec:
    """Like the smallest real models: 100 M weights, so that its caches are as little in reach as theirs."""
    return _spec(heads=9, kv_heads=3, hidden=640, inner=2048, layers=16, vocab=32_768)


def _spec(*, heads: int, kv_heads: int, hidden: int, inner: int, layers: int, vocab: int) -> ModelSpec:
    rope = Rope(theta=1e4, rotary_dim=_HEAD_DIM, scaling=NoScaling())
    attention = FullAttention(
        num_query_heads=heads, num_kv_heads=kv_heads, head_dim=_HEAD_DIM, v_head_dim=_HEAD_DIM, rope=rope
    )
    layer = LayerSpec(attention=attention, mlp=GatedMlp(intermediate_size=inner, activation="silu"))
    return ModelSpec(
        name="noise",
        family="llama",
        vocab_size=vocab,
        hidden_size=hidden,
        layers=(layer,) * layers,
        max_context_tokens=_LONG_TOKENS,
        norm_eps=1e-5,
        tie_embeddings=True,
    )
