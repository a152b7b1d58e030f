"""Models of noise that our own engine runs, to find what its steps take on this machine: no file is read, and what is
found says nothing about any model in particular."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from windowtax.cache.manager import CacheManager
from windowtax.engine.backend import Backend, weight_format
from windowtax.engine.load import LoadedModel
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, open_engine
from windowtax.nn.recorded.decoder import RecordedDecoder, SequenceTables
from windowtax.ops.native import NativeState, WeightFormat
from windowtax.ops.rows import GROUP, Codes, Floats, Matrix, matrix_of
from windowtax.schedule.step import Step
from windowtax.spec.attention.block_topk import BlockTopKAttention
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope.base import Rope
from windowtax.spec.rope.none import NoScaling
from windowtax.store.planes import PlaneStore

K = TypeVar("K")
Work = Callable[[], float]
"""One step; returns its seconds."""

LONGEST_TOKENS = 1 << 16
_FILLING = 0x3C
"""A byte of which every number type makes something finite and not too small. Zeros would all be one page of memory."""
_SUMMARIES = ("block_min", "block_max")
_LEAST_BF16, _MOST_BF16 = 0x3C00, 0x3E00
"""Bit patterns of summaries: 0.008 to 0.125."""
_FORMATS = {"embedding": WeightFormat.Q8}
"""As files of 4-bit weights have it: the embedding, which is the head too, in 8 bits."""


@dataclass(frozen=True, slots=True)
class _Noise:
    """Weights of noise: codes with scales where `quantised`, bf16 else."""

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
        narrow = self.code_format(name) is WeightFormat.Q4
        codes = rng.integers(0 if narrow else -127, 16 if narrow else 128, (rows, columns), dtype=np.int8)

        def read(start: int, end: int) -> Codes:
            scale = np.full((end - start, columns // GROUP), 0.005 if narrow else 0.0003, dtype=np.float32)
            form = WeightFormat.Q4 if narrow else WeightFormat.Q8
            return Codes(form, codes[start:end], scale, scale * -8 if narrow else None)

        return Matrix((rows, columns), read)

    def code_format(self, name: str) -> WeightFormat | None:
        """As a file of such weights would say."""
        return _FORMATS.get(name, WeightFormat.Q4) if self.quantised else None

    def _shape(self, name: str) -> tuple[int, ...]:
        return next(weight.shape for weight in self.spec.weights() if weight.name == name)


class NoiseModel:
    """A model of noise, and its steps. weights: stored (4 bits, the embedding in 8) or full (bf16)."""

    def __init__(self, spec: ModelSpec, weights: str, native: NativeState, num_threads: int) -> None:
        self.spec, self.weights, self.native = spec, weights, native
        source = _Noise(spec, weights == "stored")
        self.decoder = RecordedDecoder(spec, source, weight_format(weights, "bf16"), native, num_threads)

    @property
    def num_layers(self) -> int:
        """Layers."""
        return len(self.spec.layers)

    def read_bytes(self, cache: str, context_tokens: int) -> int:
        """Bytes of the cache that a decode step reads."""
        return self._layout(cache).read_bytes(context_tokens)

    def decode(self, cache: str, context_tokens: int, sequences: int = 1) -> Work:
        """One token of each sequence at the end of such contexts."""
        return self.step(cache, context_tokens - 1, 1, sequences)

    def step(self, cache: str, start: int, count: int, sequences: int = 1) -> Work:
        """`count` tokens of each sequence behind `start`; other tokens every time, that others are looked up and
        other blocks chosen."""
        layout = self._layout(cache)
        blocks = layout.peak_blocks(start + count, count)
        manager = CacheManager(layout, tuple(sequences * one for one in blocks))
        names = [f"noise {index}" for index in range(sequences)]
        for name in names:
            assert manager.reserve(name, start, count)
        store = PlaneStore(layout, manager.num_blocks)
        fill(store)
        recording = self.decoder.record(store)
        tables = [manager.tables(name) for name in names]
        tokens = _tokens(self.spec.vocab_size)

        def work() -> float:
            rows = [
                SequenceTables(
                    [next(tokens) for _ in range(count)],
                    start,
                    1,
                    start + count,
                    [table.blocks for table in one],
                    [table.first for table in one],
                )
                for one in tables
            ]
            return seconds(lambda: recording.choose(rows))

        return work

    def outside(self, sequences: int, steps: int) -> list[float]:
        """What decode steps of so many sequences take outside the model, s: scheduler, block tables, sampler, meters.

        Taken from whole steps, so that Python finds caches as cold as the weights leave them; and not as a difference
        of two steps, which would be noise.
        """
        backend = Backend(self.native, "", self.weights, self.decoder.num_threads)
        model = LoadedModel(self.spec, self.decoder, None, "bf16", "cpu", backend)
        tokens = steps + sequences + 8
        engine = open_engine(model, sequences * (tokens + 32), EngineOptions())
        for _ in range(sequences):
            engine.add([1], SamplingParams(max_tokens=tokens, ignore_eos=True))
        for _ in range(sequences + 2):
            engine.step()
        choose, inside_s = engine.runner.choose, 0.0

        def timed(step: Step) -> list[int]:
            nonlocal inside_s
            began = time.perf_counter()
            token_ids = choose(step)
            inside_s = time.perf_counter() - began
            return token_ids

        engine.runner.choose = timed
        return [seconds(engine.step) - inside_s for _ in range(steps)]

    def _layout(self, cache: str) -> CacheLayout:
        return self.spec.layout(cache_dtype(cache))


def fill(store: PlaneStore) -> None:
    """Noise for a cache that nobody wrote."""
    rng = np.random.default_rng(0)
    for planes in store.planes:
        for name, plane in planes.items():
            if name in _SUMMARIES:
                # Each block promises something else to each query, so those chosen lie scattered.
                numbers = plane.view(np.uint16)
                numbers[...] = rng.integers(_LEAST_BF16, _MOST_BF16, numbers.shape, dtype=np.uint16)
            else:
                plane.fill(_FILLING)


def _tokens(vocab_size: int) -> Iterator[int]:
    """Token ids without end, far from each other."""
    token = 1
    while True:
        yield token
        token = (token * 31 + 17) % vocab_size


def seconds(work: Callable[[], object]) -> float:
    """How long that took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def medians_in_turns(works: Mapping[K, Work], rounds: int, burst: int = 1) -> dict[K, float]:
    """The median time of each work, s. In turns, so that a minute in which the neighbours rest decides nothing; each
    turn of several steps begins with half as many that are not counted: a shared cache takes a dozen passes over the
    same bytes before it holds what it can."""
    found: dict[K, list[float]] = {name: [] for name in works}
    for work in works.values() if burst == 1 else ():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            for _ in range(burst // 2):
                work()
            found[name] += [work() for _ in range(burst)]
    return {name: median(times) for name, times in found.items()}


def median(values: list[float]) -> float:
    """The middle one, the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]


def spec_of_noise(
    *, heads: int, kv_heads: int, hidden: int, inner: int, layers: int, vocab: int, head_dim: int = 64
) -> ModelSpec:
    """A plain model: full attention, a gated MLP, the embedding as head."""
    rope = Rope(theta=1e4, rotary_dim=head_dim, scaling=NoScaling())
    attention = FullAttention(
        num_query_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, v_head_dim=head_dim, rope=rope
    )
    layer = LayerSpec(attention=attention, mlp=GatedMlp(intermediate_size=inner, activation="silu"))
    return ModelSpec(
        name="noise",
        family="llama",
        vocab_size=vocab,
        hidden_size=hidden,
        layers=(layer,) * layers,
        max_context_tokens=LONGEST_TOKENS,
        norm_eps=1e-5,
        tie_embeddings=True,
    )


def bare_spec(*, heads: int = 6, kv_heads: int = 2, layers: int = 16) -> ModelSpec:
    """Little but attention: matrices so small that a step's time is that of its caches and constants."""
    return spec_of_noise(heads=heads, kv_heads=kv_heads, hidden=64, inner=64, layers=layers, vocab=512)


def small_spec(*, layers: int, group: int = 3) -> ModelSpec:
    """Matrices like those of the smallest real models; so many query heads per KV head."""
    return spec_of_noise(heads=2 * group, kv_heads=2, hidden=640, inner=2048, layers=layers, vocab=32_768)


def large_spec(layers: int) -> ModelSpec:
    """Matrices like those of models of half a billion weights; some 10 million numbers per layer."""
    return spec_of_noise(heads=8, kv_heads=2, head_dim=128, hidden=1024, inner=4096, layers=layers, vocab=32_768)


def choosing(spec: ModelSpec, top_blocks: int, block_tokens: int) -> ModelSpec:
    """The same, of each layer the top blocks only."""
    (layer,) = set(spec.layers)
    full = layer.attention
    assert isinstance(full, SoftmaxAttention)
    attention = BlockTopKAttention(
        num_query_heads=full.num_query_heads,
        num_kv_heads=full.num_kv_heads,
        head_dim=full.head_dim,
        v_head_dim=full.v_head_dim,
        rope=full.rope,
        block_tokens=block_tokens,
        top_k_blocks=top_blocks,
    )
    return replace(spec, layers=(replace(layer, attention=attention),) * len(spec.layers))
